"""Which setting a failed trial stands out by, if any.

The rule: of the trials that have ended so far, look at each setting that a trial's swept settings have.

- A number: the trial's value is among the k largest (or smallest) values, all k trials failed, and k is as large as it
  can be. Trials with equal values count together.
- Anything else: all k trials with the trial's value failed.

How likely is it that k given trials of n all failed, if f of n failed by chance? That is C(n - k, f - k) / C(n, f). It
is multiplied by the number of such looks, because with many settings one stands out by chance. A setting is blamed
where the product is at most 0.05. Of several the least likely one is named. Where nothing stands out, nothing is
blamed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from raydarts.study.settings_words import value_in_words

MOST_BY_CHANCE = 0.05


@dataclass(frozen=True)
class Ended:
    """A trial that has ended: its swept settings by their labels, and whether it failed."""

    settings: Mapping[str, object]
    failed: bool


def blame(settings: Mapping[str, object], ended: Sequence[Ended]) -> str | None:
    """What a failed trial with these settings stands out by, in words; None: nothing. It is one of `ended`."""
    looks: list[tuple[float, str]] = []
    for name, value in settings.items():
        others = [each for each in ended if name in each.settings]
        if len({repr(each.settings[name]) for each in others}) < 2:
            continue
        looks += _number(name, value, others) if _is_number(value) else _option(name, value, others)
    if not looks:
        return None
    chance, words = min(looks)
    return words if chance * len(looks) <= MOST_BY_CHANCE else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(name: str, value: int | float, others: Sequence[Ended]) -> list[tuple[float, str]]:
    """The looks at both ends of a number's values."""
    known = [(float(number), each.failed) for each in others if _is_number(number := each.settings[name])]
    looks = []
    for word, sign in (("largest", -1), ("smallest", 1)):
        ordered = sorted(known, key=lambda pair: sign * pair[0])
        k = next((place for place, (_, failed) in enumerate(ordered) if not failed), len(ordered))
        while 0 < k < len(ordered) and ordered[k - 1][0] == ordered[k][0]:
            k -= 1  # equal values, of which one did not fail, say nothing
        within = any(number == value for number, _ in ordered[:k])
        chance = _by_chance(len(ordered), sum(failed for _, failed in ordered), k) if within else 1.0
        place = "the" if value == ordered[0][0] else "among the"
        many = f"the {k} {word} failed" if k > 1 else "no other failed"
        looks.append(
            (chance, f"{name} {value_in_words(value)} is {place} {word} of {len(ordered)} trials, of which {many}")
        )
    return looks


def _option(name: str, value: object, others: Sequence[Ended]) -> list[tuple[float, str]]:
    alike = [each for each in others if each.settings[name] == value]
    k = len(alike) if all(each.failed for each in alike) else 0
    failed = sum(each.failed for each in others)
    rest = f"{failed - k} of the {len(others) - len(alike)} others"
    words = f"all {k} trials with {name} {value_in_words(value)} failed, and {rest}"
    return [(_by_chance(len(others), failed, k) if k else 1.0, words)]


def _by_chance(n: int, failed: int, k: int) -> float:
    """How likely `k` given trials of `n` all failed, if `failed` of them did by chance."""
    return 1.0 if k == 0 else math.comb(n - k, failed - k) / math.comb(n, failed)
