"""The answer to a run's `question`: what the swept settings do, or how many trials would decide.

The question is free text, so the answer is about what was swept: the estimator and its settings, if they were swept,
else all settings. Each is compared on the sweep's objective and on the retrained score. The intervals hold for all of
these comparisons at once (Bonferroni). So a run of pure noise gets any decided answer with a chance of at most 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

from raydarts.json_types import Json
from raydarts.report import stats
from raydarts.report.designs import OF_SEEDS, Value, compared
from raydarts.report.findings import outcomes
from raydarts.report.gather import Run
from raydarts.report.swept import Setting
from raydarts.report.wording import Outcome, listed

POWER = 0.8
_INTEREST = 0.5
"""The smallest difference of interest, in standard deviations of what is compared."""
_SHOWN = 3
"""So many settings are named in the text."""
_MOST = 10_000
ESTIMATOR = "search.estimator"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two values of a setting, on one outcome.

    - `better`, `worse`: the two values that differ most, or the two halves of a range. `better` has the better mean.
    - `effect`: by how much it is better, in `unit`, with its interval `low` to `high` of `level` for all comparisons of
      the answer at once. Never negative itself. None: too few values to compare.
    - `n`: the number of searches (or what `of` says) of each value that is compared, by its name.
    - `decided`: whether the interval leaves out 0.
    - `interest`: the smallest difference of interest, in `unit`: half a standard deviation. `needed`: so many of each
      value show it with the power of 80 %. `needed_as_measured`: the same of a difference as large as the measured one.
      None: more than 10,000, or not known.
    """

    setting: str
    label: str
    outcome: str
    unit: str
    of: str
    better: str | None = None
    worse: str | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    level: float
    n: Mapping[str, int]
    decided: bool = False
    sd: float | None = None
    interest: float | None = None
    needed: int | None
    needed_as_measured: int | None = None
    sentence: str


@dataclass(frozen=True)
class Answer:
    """What a run says about its question. `compared` is empty if nothing was swept. `words` is all of it in text."""

    question: str
    compared: Sequence[Compared]
    words: Sequence[str]

    def to_json(self) -> dict[str, Json]:
        return {
            "question": self.question,
            "compared": [asdict(each) for each in self.compared],
            "words": list(self.words),
        }


def answer(run: Run) -> Answer | None:
    """Returns the answer of a sweep. None: the run is no sweep, or none of its searches has completed."""
    question = str(run.description.get("question") or "")
    if run.description.get("kind") != "sweep" or not run.completed:
        return None
    settings = [each for each in run.settings if _of_estimator(each.name)] or list(run.settings)
    if not settings:
        return Answer(question, (), [_nothing_swept(run)])
    asked = [outcome for outcome in outcomes(run) if not outcome[0].countable]
    asked = asked if run.retrained_mean else asked[:1]
    level = 1 - stats.ALPHA / (len(settings) * len(asked))
    every = [[_compared(run, setting, outcome, value, level) for outcome, value in asked] for setting in settings]
    if not _of_estimator(settings[0].name):
        every.sort(key=lambda each: -max(map(_evidence, each)))
    first, *others = every
    shown = [*first, *(max(each, key=_evidence) for each in others[: _SHOWN - 1])]
    whole = [each for group in every for each in group]
    words = [*(each.sentence for each in shown), *_notes(run, whole, others[_SHOWN - 1 :])]
    return Answer(question, whole, words)


def _of_estimator(name: str) -> bool:
    return name == ESTIMATOR or name.startswith((f"{ESTIMATOR}[", f"{ESTIMATOR}."))


def _evidence(compared: Compared) -> float:
    """Returns the effect over half its interval's length. Above 1 it is decided."""
    if compared.effect is None or compared.low is None or compared.effect <= 0:
        return 0.0
    half = compared.effect - compared.low
    return math.inf if half <= 0 else compared.effect / half


def _notes(run: Run, compared: Sequence[Compared], others: Sequence[Sequence[Compared]]) -> list[str]:
    lines = []
    if len(compared) > 1:
        lines.append(f"Intervals are of 95 % for all {len(compared)} comparisons at once.")
    if any(each.of == OF_SEEDS for each in compared):
        lines.append("Where n counts search seeds there are few configurations, and it is about these alone.")
    if others:
        lines.append(f"Not named here: {listed([group[0].label for group in others])} (--json has them).")
    if run.model_based:
        lines.append(f"The searcher ({run.searcher}) chose settings by earlier results, so intervals are approximate.")
    return lines


def _nothing_swept(run: Run) -> str:
    outcome, value = outcomes(run)[0]
    mean = stats.mean_of([score for _, score in run.units(value)], outcome.limits)
    what = "No setting was swept, so there is nothing to compare."
    if mean is None:
        return what
    interval = "no interval, as n = 1"
    if mean.low is not None and mean.high is not None:
        interval = f"95 % interval {outcome.show(mean.low)} to {outcome.show(mean.high)}, n = {mean.n} {run.unit}"
    return f"{what} The {outcome.name} is {outcome.show(mean.value)} on average ({interval})."


def _compared(run: Run, setting: Setting, outcome: Outcome, value: Value, level: float) -> Compared:
    """Returns the two values of the setting that differ most in the outcome."""
    sign = run.score.sign if outcome.selected else run.supernet.sign
    design, contrast = compared(run, setting, value, sign, outcome.limits, 1 - level)
    parts = Parts(setting, outcome, design.of, design.counts, level, _pairs(setting))
    return _undecidable(parts) if contrast is None else _decided(parts, contrast)


@dataclass(frozen=True)
class Parts:
    """What a comparison is of: `counts` of the searches of each value, and the `pairs` of values of the setting."""

    setting: Setting
    outcome: Outcome
    of: str
    counts: Mapping[str, int]
    level: float
    pairs: int

    @property
    def what(self) -> str:
        """The outcome in words, with a reminder if only some searches have it."""
        return self.outcome.name + (" (promoted genotypes only)" if self.outcome.selected else "")

    def amount(self, difference: float) -> str:
        shown = self.outcome.show_difference(difference)
        return f"{shown} percentage points" if self.outcome.share else shown

    def needed(self, sds: float) -> int | None:
        """Returns how many of each value show a difference of so many standard deviations. None: more than 10,000.

        The two-sided test of two means by the normal distribution, with Guenther's (1981) correction for Student's.
        """
        if sds <= 0:
            return None
        bound = NormalDist().inv_cdf(1 - (1 - self.level) / self.pairs / 2)
        count = 2 * ((bound + NormalDist().inv_cdf(POWER)) / sds) ** 2 + bound**2 / 4
        return math.ceil(count) if count <= _MOST else None


def _pairs(setting: Setting) -> int:
    """Returns the pairs of values that can be compared. A range is two halves."""
    count = 2 if setting.trend else len(setting.values)
    return count * (count - 1) // 2


def _decided(parts: Parts, contrast: stats.Contrast) -> Compared:
    better, worse = str(contrast.first), str(contrast.second)
    outcome, decided = parts.outcome, contrast.low > 0
    interest = _INTEREST * contrast.sd
    needed, as_measured = parts.needed(_INTEREST), parts.needed(contrast.difference / contrast.sd)
    picked = "" if parts.pairs == 1 else f", the largest of {parts.pairs} differences"
    interval = f"interval {outcome.show_difference(contrast.low)} to {outcome.show_difference(contrast.high)}{picked}"
    n = f"n = {parts.counts[better]} and {parts.counts[worse]} {parts.of}"
    by = f"better than {worse} by {parts.amount(contrast.difference)}"
    if decided:
        sentence = f"{parts.setting.label}: {better} is {by} of {parts.what} ({interval}; {n})."
    else:
        sentence = (
            f"{parts.setting.label}: undecided on {parts.what}. {better} measured {by} ({interval}; {n}). "
            f"{_count(needed)} {parts.of} of each would show half a standard deviation ({parts.amount(interest)}) with "
            f"{100 * POWER:.0f} % power, and {_count(as_measured).lower()} the measured difference."
        )
    return Compared(
        setting=parts.setting.name,
        label=parts.setting.label,
        outcome=outcome.name,
        unit=outcome.unit,
        of=parts.of,
        better=better,
        worse=worse,
        effect=contrast.difference,
        low=contrast.low,
        high=contrast.high,
        level=parts.level,
        n=dict(parts.counts),
        decided=decided,
        sd=contrast.sd,
        interest=interest,
        needed=needed,
        needed_as_measured=as_measured,
        sentence=sentence,
    )


def _count(needed: int | None) -> str:
    return f"More than {_MOST:,}" if needed is None else f"{needed:,}"


def _undecidable(parts: Parts) -> Compared:
    """Returns a comparison for which there are too few values, or which all measured the same."""
    needed = parts.needed(_INTEREST)
    counts = listed([f"{count} with {name}" for name, count in parts.counts.items()]) if parts.counts else "0"
    sentence = (
        f"{parts.setting.label}: undecided on {parts.what}. Too few {parts.of} to compare, or all measured the same, "
        f"or some diverged (n = {counts}). {_count(needed)} {parts.of} of each would show half a standard deviation "
        f"with {100 * POWER:.0f} % power."
    )
    return Compared(
        setting=parts.setting.name,
        label=parts.setting.label,
        outcome=parts.outcome.name,
        unit=parts.outcome.unit,
        of=parts.of,
        level=parts.level,
        n=dict(parts.counts),
        needed=needed,
        sentence=sentence,
    )
