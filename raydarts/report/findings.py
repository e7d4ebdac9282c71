"""What a run shows, as sentences made from its numbers, each with its uncertainty.

Every tested null hypothesis belongs to one family of tests. A sentence claims an effect only if Holm's adjusted p is at
most 5 %. So a run of pure noise has any such sentence with a chance of at most 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from raydarts.report import stats
from raydarts.report.blocks import Blocking, blocks_for, seed_blocks
from raydarts.report.gather import Run, Searched
from raydarts.report.limits import COUNT, limits_of
from raydarts.report.swept import Setting, is_number, short
from raydarts.report.wording import Outcome, amount, listed, number, score_text

_FEWEST = 6  # trials; with fewer nothing is tested


@dataclass(frozen=True)
class Finding:
    """A sentence and its numbers.

    - `kind`: the hypothesis: `setting`, `genotypes`, `rank` (supernet against retrained), `reward` (supernet against
      skips), `harm` (skips against retrained).
    - `estimate`: in `unit`, with its 95 % interval `low` to `high`.
    - `p`: of the permutation test. `adjusted`: Holm's, over the run's family of tests.
    - `claims`: whether the sentence claims an effect.
    """

    kind: str
    subject: str
    outcome: str
    test: str
    n: int
    p: float
    estimate: float | None
    low: float | None
    high: float | None
    unit: str
    sentence: str
    adjusted: float = 1.0
    family: int = 1
    label: str = ""
    """The setting's short name, of a finding about a setting."""

    @property
    def claims(self) -> bool:
        return self.adjusted <= stats.ALPHA

    @property
    def evidence(self) -> str:
        """Returns the test in words, to stand behind the sentence."""
        return f"{self.test}, p = {number(self.p)}, Holm-adjusted over {self.family} tests {number(self.adjusted)}"


def outcomes(run: Run) -> list[tuple[Outcome, Callable[[Searched], float | None]]]:
    """Returns what a setting may act on: the sweep's metric, skip connections, retrained accuracy."""
    name = f"supernet {run.metric.replace('_', ' ')}"
    supernet = Outcome(name, run.supernet.share, limits=limits_of(run.supernet))
    skips = Outcome("skip connections", False, countable=True, limits=COUNT)
    words = f"retrained {run.score.words}"
    retrained = Outcome(words, run.score.share, selected=True, limits=limits_of(run.score))
    return [
        (supernet, lambda search: search.metric),
        (skips, lambda search: None if search.skips is None else float(search.skips)),
        (retrained, lambda search: run.retrained_mean.get(search.genotype_id or "")),
    ]


def findings(run: Run, draws: int = stats.DRAWS) -> list[Finding]:
    """Returns every test of the run with its sentence. Claims come first, then smallest p first."""
    results = [
        replace(tested, label=setting.label)
        for setting in run.settings
        for outcome, value in outcomes(run)
        if (tested := _setting(run, setting, outcome, value, draws)) is not None
    ]
    results += [tested for test in (_rank, _reward, _harm, _genotypes) if (tested := test(run, draws)) is not None]
    adjusted = stats.holm([finding.p for finding in results])
    family = len(results)
    done = [replace(each, adjusted=p, family=family) for each, p in zip(results, adjusted, strict=True)]
    return sorted(done, key=lambda finding: (not finding.claims, finding.p))


def _setting(
    run: Run, setting: Setting, outcome: Outcome, value: Callable[[Searched], float | None], draws: int
) -> Finding | None:
    known = [unit for unit in run.units(value) if setting.name in unit[0].choices]
    units, y = [search for search, _ in known], [score for _, score in known]
    levels = [search.choices[setting.name] for search in units]
    numbers = [level for level in levels if is_number(level)]
    if len(units) < _FEWEST or len(set(map(repr, levels))) < 2 or len(set(y)) < 2:
        return None
    blocks = blocks_for(run, setting, units)
    within = f"{len(units)} {run.unit}" + (f" in {blocks.count} {blocks.words}" if blocks.count > 1 else "")
    if setting.trend:
        return _trend(setting, outcome, numbers, y, blocks, within, draws)
    return _levels(setting, outcome, [str(level) for level in levels], y, blocks, within, draws)


def _trend(
    setting: Setting, outcome: Outcome, x: Sequence[float], y: list[float], blocks: Blocking, within: str, draws: int
) -> Finding | None:
    trend = stats.correlation(x, y, blocks.block, draws)
    if trend is None:
        return None
    middle = sorted(x)[len(x) // 2]
    halves = [[b for a, b in zip(x, y, strict=True) if (a < middle) is lower] for lower in (True, False)]
    means = [stats.mean_of(half, outcome.limits) for half in halves]
    addition = ""
    if means[0] is not None and means[1] is not None:
        below, above = (_described(outcome, mean) for mean in (means[0], means[1]))
        addition = f" Mean below {number(middle)}: {below}; from there on: {above}."
    sentence = (
        f"A higher {setting.label} goes with {outcome.direction(trend.value)} {outcome.name}{outcome.among}: rank "
        f"correlation {trend.value:.2f} (95 % interval {trend.low:.2f} to {trend.high:.2f}; {within}).{addition}"
    )
    test = f"permutation test of Spearman's correlation, {blocks.words}"
    return Finding(
        "setting",
        setting.name,
        outcome.name,
        test,
        trend.n,
        trend.p,
        trend.value,
        trend.low,
        trend.high,
        "rank correlation",
        sentence,
    )


def _described(outcome: Outcome, mean: stats.Mean) -> str:
    """Returns a mean with its spread, n and interval."""
    if mean.std is None or mean.low is None or mean.high is None:
        return f"{outcome.show(mean.value)} (n = 1)"
    spread, low, high = (outcome.show_difference(value) for value in (mean.std, mean.low, mean.high))
    return f"{outcome.show(mean.value)} (std {spread}, n = {mean.n}, 95 % interval {low} to {high})"


def _levels(
    setting: Setting, outcome: Outcome, level: list[str], y: list[float], blocks: Blocking, within: str, draws: int
) -> Finding:
    p = stats.levels_p(level, y, blocks.block, draws)
    contrast = stats.largest_contrast(level, y, blocks.block, outcome.limits) if p <= stats.ALPHA else None
    test = f"permutation test of the means' differences, {blocks.words}"
    counts = listed([f"{level.count(name)} {name}" for name in dict.fromkeys(level)])
    if contrast is None:
        sentence = f"{setting.label} acts on {outcome.name}{outcome.among} ({within}: {counts})."
        values: tuple[float | None, float | None, float | None] = (None, None, None)
    else:
        low, high = (contrast.low, contrast.high)
        picked = "" if contrast.pairs == 1 else f", the largest of {contrast.pairs} differences, Tukey's interval"
        apart = "" if low > 0 else " No single pair of its values is told apart, though."
        sentence = (
            f"{setting.label}: {contrast.second} has on average {amount(outcome, contrast.difference)} {outcome.less} "
            f"than {contrast.first}{outcome.among} (95 % interval {outcome.show_difference(low)} to "
            f"{outcome.show_difference(high)}{picked}; {within}: {counts}).{apart}"
        )
        values = (contrast.difference, low, high)
    return Finding("setting", setting.name, outcome.name, test, len(y), p, *values, outcome.unit, sentence)


def _rank(run: Run, draws: int) -> Finding | None:
    """Tests whether the supernet's score ranks the retrained genotypes."""
    names = [name for name in run.retrained_mean if name in run.supernet_mean]
    x = [run.supernet.sign * run.supernet_mean[name] for name in names]
    agreement = stats.kendall(x, [run.score.sign * run.retrained_mean[name] for name in names], draws)
    if agreement is None:
        return None
    score = f"supernet {run.metric.replace('_', ' ')}"
    if agreement.p <= stats.ALPHA and agreement.value > 0:
        verdict = "the better score tends to retrain better" + (
            ", but weakly: do not choose by it alone" if agreement.low < 0.5 else ""
        )
    elif agreement.p <= stats.ALPHA:
        verdict = "the better score retrains WORSE: do not choose by it"
    else:
        verdict = "not shown to rank them at all: do not choose by it"
    sentence = (
        f"The {score} ranks the retrained genotypes with Kendall's tau {agreement.value:.2f} (95 % interval "
        f"{agreement.low:.2f} to {agreement.high:.2f}; n = {agreement.n} genotypes): {verdict}. Only genotypes "
        "that this score "
        f"promoted were "
        "retrained, which by itself weakens a rank correlation."
    )
    test = "permutation test of Kendall's tau-b"
    return _correlated("rank", score, f"retrained {run.score.words}", test, agreement, "Kendall's tau", sentence)


def _correlated(
    kind: str, subject: str, outcome: str, test: str, correlation: stats.Correlation, unit: str, sentence: str
) -> Finding:
    return Finding(
        kind,
        subject,
        outcome,
        test,
        correlation.n,
        correlation.p,
        correlation.value,
        correlation.low,
        correlation.high,
        unit,
        sentence,
    )


def _reward(run: Run, draws: int) -> Finding | None:
    """Tests whether the supernet's score rewards skip connections."""
    skips = run.units(lambda search: None if search.metric is None else search.skips)
    scores = run.units(lambda search: None if search.skips is None else search.metric)
    if len(skips) < _FEWEST:
        return None
    sign = run.supernet.sign
    blocks = seed_blocks([search for search, _ in skips])
    correlation = stats.correlation(
        [count for _, count in skips], [sign * score for _, score in scores], blocks.block, draws
    )
    if correlation is None:
        return None
    score = f"supernet {run.metric.replace('_', ' ')}"
    verdict = "the score rewards collapse" if correlation.value > 0 else "the score does not reward collapse here"
    sentence = (
        f"Cells with more skip connections have the {'better' if correlation.value > 0 else 'worse'} {score}: "
        f"rank correlation {correlation.value:.2f} (95 % interval {correlation.low:.2f} to "
        f"{correlation.high:.2f}; {correlation.n} {run.unit}): "
        f"{verdict}."
    )
    test = f"permutation test of Spearman's correlation, {blocks.words}"
    return _correlated("reward", "skip connections", score, test, correlation, "rank correlation", sentence)


def _harm(run: Run, draws: int) -> Finding | None:
    """Tests whether genotypes with more skip connections retrain worse."""
    names = [
        name
        for name in run.retrained_mean
        if name in run.searches_by_genotype and run.searches_by_genotype[name][0].skips is not None
    ]
    x = [float(run.searches_by_genotype[name][0].skips or 0) for name in names]
    agreement = stats.kendall(x, [run.retrained_mean[name] for name in names], draws)
    if agreement is None:
        return None
    how = "worse" if run.score.sign * agreement.value < 0 else "better"
    sentence = (
        f"Genotypes with more skip connections retrain {how}: Kendall's tau "
        f"{agreement.value:.2f} (95 % interval {agreement.low:.2f} to {agreement.high:.2f}; n = {agreement.n} "
        "retrained genotypes)."
    )
    test = "permutation test of Kendall's tau-b"
    retrained = f"retrained {run.score.words}"
    return _correlated("harm", "skip connections", retrained, test, agreement, "Kendall's tau", sentence)


def _genotypes(run: Run, draws: int) -> Finding | None:
    """Tests whether the retrained genotypes differ by more than evaluation seeds do."""
    done = [each for each in run.retrainings if each.status == "completed" and each.validation is not None]
    level = [each.genotype_id for each in done]
    y = [float(each.validation or 0.0) for each in done]
    if len(set(level)) < 2 or len(done) < _FEWEST or len(set(y)) < 2 or len(done) == len(set(level)):
        return None
    seeds = [each.seed for each in done]
    p = stats.levels_p(level, y, seeds, draws)
    contrast = stats.largest_contrast(level, y, seeds, limits_of(run.score)) if p <= stats.ALPHA else None
    count = len(set(level))
    sentence = f"The {count} retrained genotypes differ by more than evaluation seeds do ({len(done)} retrainings)."
    values: tuple[float | None, float | None, float | None] = (None, None, None)
    if contrast is not None:
        values = (contrast.difference, contrast.low, contrast.high)
        difference, low, high = (score_text(run.score, value) for value in values)
        sentence += (
            f" {contrast.first} is {difference}{' percentage points' if run.score.share else ''} of {run.score.words} "
            f"above {contrast.second} (95 % interval {low} to {high}, the largest of "
            f"{contrast.pairs} differences, Tukey's interval{'' if run.score.mode == 'max' else '; lower is better'})."
        )
    test = "permutation test of the means' differences, blocks of equal evaluation seed"
    return Finding(
        "genotypes",
        "genotype",
        f"retrained {run.score.words}",
        test,
        len(done),
        p,
        *values,
        run.score.measure,
        sentence,
    )


def undecided(results: Sequence[Finding]) -> list[str]:
    """Returns, in words, what was tested and not told from noise. That is absence of evidence only."""
    lines = []
    settings: dict[str, list[str]] = {}
    for finding in results:
        if finding.claims:
            continue
        if finding.kind == "setting":
            settings.setdefault(finding.outcome, []).append(finding.label or short(finding.subject))
        elif finding.kind == "rank":
            lines.append(finding.sentence if finding.p > stats.ALPHA else _uncertain(finding))
        elif finding.kind == "genotypes":
            lines.append(
                f"The retrained genotypes could not be told apart by {finding.outcome.removeprefix('retrained ')} "
                f"({finding.n} retrainings, p = {number(finding.p)}): do not read the order of the ranking "
                "as more than chance."
            )
        else:
            lines.append(_uncertain(finding))
    return [
        *(f"No effect on {outcome} could be told from noise: {listed(names)}." for outcome, names in settings.items()),
        *lines,
    ]


def _uncertain(finding: Finding) -> str:
    interval = (
        f"{finding.unit} {finding.estimate:.2f}, 95 % interval {finding.low:.2f} to {finding.high:.2f}, "
        if finding.estimate is not None and finding.low is not None and finding.high is not None
        else ""
    )
    return (
        f"{finding.subject[:1].upper()}{finding.subject[1:]} against {finding.outcome}: not told from noise "
        f"({interval}n = {finding.n}, Holm-adjusted p = {number(finding.adjusted)})."
    )
