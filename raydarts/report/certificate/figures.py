"""The figures of a run, computed anew from rows and results of its trials, and where these contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from raydarts.errors import GenotypeError
from raydarts.genotypes.genotype import Genotype
from raydarts.json_types import section
from raydarts.study.bars import figure
from raydarts.study.objectives import Score
from raydarts.study.results import NOT_SCALAR, ResultEntry, TrialRecord

_NOT_COMPARED = (*NOT_SCALAR, "seconds")


def from_rows(record: TrialRecord, score: Score) -> TrialRecord:
    """Returns the record with the score of its rows in the place of what its result says.

    The result says in which epoch a network was the best: its figure must be in a row. Else the last row's figure
    counts. A record whose rows are damaged stays as it is.
    """
    if not record.rows or not record.rows_whole or record.status != "completed":
        return record
    claimed = score.of(record.outcome)
    known = [value for row in record.rows if (value := score.of(row)) is not None]
    counted = claimed if claimed in known else score.of(record.rows[-1])
    measured = {**(record.result.get("result") or {}), score.metric: counted}
    return replace(record, result={**record.result, "result": measured})  # type: ignore[typeddict-item]


def contradictions(stage: str, records: Sequence[TrialRecord], score: Score) -> Iterator[str]:
    """Yields what the files of a trial say in two places in two ways."""
    for record in records:
        where = f"{stage} {record.id}"
        yield from _of_rows(where, record, score)
        yield from _of_genotypes(where, record)


def _of_rows(where: str, record: TrialRecord, score: Score) -> Iterator[str]:
    if not record.rows or not record.rows_whole or not record.result:
        return
    last, told = record.rows[-1], section(record.result.get("metrics"))
    if record.status in ("completed", "stopped"):
        for key in sorted(set(last) & set(told)):
            if key not in _NOT_COMPARED and last[key] != told[key]:
                yield f"{where}: {key} is {_shown(told[key])} in result.json, and {_shown(last[key])} in metrics.jsonl"
    if record.status == "completed":
        claimed = figure(section(record.result.get("result")).get(score.metric))
        if claimed is not None and claimed not in [score.of(row) for row in record.rows]:
            yield f"{where}: {score.metric} is {claimed!r} in result.json, and no row of metrics.jsonl has it"
    epochs = record.result.get("epochs")
    if epochs is not None and epochs != len(record.rows):
        yield f"{where}: result.json counts {epochs} epochs, and metrics.jsonl has {len(record.rows)}"


def _of_genotypes(where: str, record: TrialRecord) -> Iterator[str]:
    pairs: list[tuple[str, ResultEntry | Mapping[str, object]]] = [("result.json", record.result)]
    pairs.append(("trial.json", record.description))
    for file, of in pairs:
        genotype, name = of.get("genotype"), of.get("genotype_id")
        if not isinstance(genotype, Mapping) or name is None:
            continue
        try:
            known = Genotype.from_json(genotype).id
        except GenotypeError as error:
            yield f"{where}: the genotype in {file} cannot be read: {error}"
            continue
        if known != name:
            yield f"{where}: {file} calls its genotype {name}, and its edges are those of {known}"


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
