"""What the noise of evaluation seeds leaves of a ranking, in sentences for every report, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from raydarts.json_types import Json, section
from raydarts.study.objectives import Score, figure
from raydarts.study.random_cells import discovered
from raydarts.study.ranking_noise import (
    MOST_SEEDS,
    POWER,
    Estimate,
    Group,
    RankingNoise,
    Unknown,
    ranking_noise,
)
from raydarts.study.stages import section_of

_SHOWN = 6
"""So many groups are named."""


def stage_noise(
    spec: Mapping[str, object], stage: str, rows: Iterable[Mapping[str, object]], score: Score
) -> RankingNoise | Unknown | None:
    """Returns what can be said of a stage's ranking. `rows`: as `study.ranking.evaluation_rows` gives them.

    None: fewer than two genotypes are ranked, or their scores were looked up in a table, which holds no noise of seeds.
    """
    if section(section_of(spec, stage).get("table")).get("file") is not None:
        return None
    scores: dict[str, list[float]] = {}
    for row in discovered(rows):
        if row["status"] == "completed" and (value := figure(row[score.metric])) is not None:
            scores.setdefault(str(row["genotype"]), []).append(value)
    noise = ranking_noise(scores, score.mode)
    return _of_shares(noise) if score.share and isinstance(noise, RankingNoise) else noise


def _of_shares(noise: RankingNoise) -> RankingNoise:
    """Returns the statements with spreads of at most one half, the largest standard deviation that shares can have."""

    def cut(estimate: Estimate) -> Estimate:
        low, value, high = (min(each, 0.5) for each in (estimate.low, estimate.value, estimate.high))
        return replace(estimate, low=low, value=value, high=high)

    return replace(noise, seed_sd=cut(noise.seed_sd), genotype_sd=cut(noise.genotype_sd))


def noise_json(noise: RankingNoise | Unknown | None, score: Score) -> dict[str, Json] | None:
    """Returns the statements as JSON data, with the sentences under `words`."""
    return None if noise is None else {**noise.to_json(), "words": noise_words(noise, score)}


def noise_words(noise: RankingNoise | Unknown | None, score: Score) -> list[str]:
    """Returns a sentence or two for each: the noise, the attainable tau, the groups, the first place."""
    if noise is None:
        return []
    if isinstance(noise, Unknown):
        return [f"How far to trust this order: {noise.why}."]
    return [_spreads(noise, score), _taus(noise), _groups(noise), _first(noise)]


def _percent(share: float) -> str:
    return "over 99 %" if share > 0.995 else f"{100 * share:.0f} %"


def _spreads(noise: RankingNoise, score: Score) -> str:
    unit = "percentage points" if score.share else score.measure

    def show(estimate: Estimate) -> str:
        factor = 100 if score.share else 1
        value, low, high = (f"{factor * each:.3g}" for each in (estimate.value, estimate.low, estimate.high))
        return f"{value} {unit} ({_percent(estimate.probability)} interval {low} to {high})"

    return (
        f"Noise: one evaluation seed has a standard deviation of {show(noise.seed_sd)}, the genotypes' true scores one "
        f"of {show(noise.genotype_sd)}."
    )


def _taus(noise: RankingNoise) -> str:
    def show(estimate: Estimate) -> str:
        interval = f"{_percent(estimate.probability)} interval {estimate.low:.2f} to {estimate.high:.2f}"
        return f"{estimate.value:.2f} ({interval})"

    few = "" if noise.freedom >= 5 else " Few seeds were repeated, so all of this is vague."
    return (
        f"Attainable: this ranking's Kendall's tau with the true ranking is about {show(noise.attainable)}, with a "
        f"second ranking by as many new seeds {show(noise.repeated)}. The mean over such genotypes is "
        f"{show(noise.expected)}.{few}"
    )


def places(group: Group) -> str:
    """Returns `place 4`, or `places 1 to 3`."""
    return f"place {group.first}" if group.first == group.last else f"places {group.first} to {group.last}"


def _groups(noise: RankingNoise) -> str:
    several = [group for group in noise.groups if group.last > group.first]
    if not several:
        return f"All places are told apart (probability {_percent(noise.probability)})."
    if several[0] == Group(1, len(noise.genotypes)):
        return f"No two of the {len(noise.genotypes)} places can be told apart at {_percent(noise.confidence)}."
    shown = "; ".join(places(group) for group in several[:_SHOWN])
    more = len(several) - _SHOWN
    rest = f"; and {more} more {'group' if more == 1 else 'groups'}" if more > 0 else ""
    return (
        f"Cannot be told apart: {shown}{rest}. Genotypes that share none of these groups are in the right order, "
        f"all at once with probability {_percent(noise.probability)}."
    )


def _first(noise: RankingNoise) -> str:
    first = noise.first
    chance = _percent(first.probability)
    line = f"First place: the first is the best of the {len(noise.genotypes)} with probability {chance}"
    if first.settled:
        return f"{line}: settled."
    near = places(Group(1, first.contenders))
    if first.more_seeds is None:
        return (
            f"{line}. More than {MOST_SEEDS:,} more evaluation seeds for each of {near} would be needed to settle it: "
            "take them as equal, and choose by something else, such as cost."
        )
    return (
        f"{line}. About {first.more_seeds:,} more evaluation {_seeds(first.more_seeds)} for each of {near} would "
        f"settle it ({_percent(noise.confidence)} confidence, {_percent(POWER)} power, if they differ as much as "
        "estimated now)."
    )


def _seeds(count: int) -> str:
    return "seed" if count == 1 else "seeds"


def places_by_genotype(noise: RankingNoise | Unknown | None) -> dict[str, str]:
    """Returns for each genotype the places that it may truly have, such as `1 to 3`. Empty: nothing is known."""
    if not isinstance(noise, RankingNoise):
        return {}
    return {name: _range(group) for name, group in zip(noise.genotypes, noise.places, strict=True)}


def _range(group: Group) -> str:
    return str(group.first) if group.first == group.last else f"{group.first} to {group.last}"
