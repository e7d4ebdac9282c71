"""The passes that the remedies of several lanes ask for, run for all lanes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest

from raydarts.search.passes import Answer, Asking, Kind, Pass

Answering = Callable[[Kind, Mapping[int, Pass]], Mapping[int, Answer]]
"""Answers passes of one kind, by lane."""


def together(askings: Iterable[Iterable[Asking[None]]], answering: Answering) -> None:
    """Runs the generators of each lane in their order, those in the same place together.

    Lanes ask for other numbers of passes, and a remedy of one lane may ask for none. Then the others go on without it.
    """
    for place in zip_longest(*askings):
        _together({lane: asking for lane, asking in enumerate(place) if asking is not None}, answering)


def _together(askings: Mapping[int, Asking[None]], answering: Answering) -> None:
    asked = {lane: first for lane, asking in askings.items() if (first := next(asking, None)) is not None}
    while asked:
        kind = next(iter(asked.values())).kind
        lanes = [lane for lane, each in asked.items() if each.kind == kind]
        answers = answering(kind, {lane: asked.pop(lane) for lane in lanes})
        for lane, answer in answers.items():
            following = _sent(askings[lane], answer)
            if following is not None:
                asked[lane] = following


def _sent(asking: Asking[None], answer: Answer) -> Pass | None:
    try:
        return asking.send(answer)
    except StopIteration:
        return None


def union(positions: Iterable[Sequence[int]]) -> list[int]:
    """Returns all positions that occur, in order."""
    return sorted(set().union(*positions))
