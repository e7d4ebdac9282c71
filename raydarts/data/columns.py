"""A text as columns that are read side by side, a window of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from raydarts.data.text import Tokens
from raydarts.errors import DataError

SHORTEST, LONGEST_EXTRA, SPREAD, HALVED = 5, 20, 5.0, 0.05


class Window(NamedTuple):
    """`inputs` and `targets` `(rows, columns)`, each target the token after its input; `length`: the rows drawn for,
    which a text's end may cut short."""

    inputs: Tensor
    targets: Tensor
    length: int


class Columns:
    """A part of a text cut into `count` columns of equal length, what is left over at its end dropped.

    Each column goes on where it was, window after window, so that a model's hidden state may be carried.
    """

    def __init__(self, tokens: Tokens, count: int, device: torch.device | str, what: str, setting: str) -> None:
        """`what` the text is and which `setting` asks for `count` are for the error: `DataError` where it is too short."""
        rows = require_rows(tokens, count, what, setting)
        self.tokens = torch.from_numpy(tokens[: rows * count]).view(count, rows).t().contiguous().to(device)

    @property
    def rows(self) -> int:
        return self.tokens.shape[0]

    def window(self, start: int, length: int) -> Window:
        """Rows from `start` on, as far as there is a next one."""
        end = min(start + length, self.rows - 1)
        return Window(self.tokens[start:end], self.tokens[start + 1 : end + 1], length)

    def sequential(self, length: int) -> Iterator[Window]:
        """All of the text once, in windows of equal length."""
        for start in range(0, self.rows - 1, length):
            yield self.window(start, length)

    def random(self, bptt: int, generator: torch.Generator) -> Iterator[Window]:
        """All of the text once, in windows of random length. A last row that would stand alone is left out.

        The length is max(5, floor(N(b, 5))) and at most bptt + 20, with b = bptt, or bptt / 2 with probability 0.05
        (authors' code, rnn/train.py, after Merity et al. 2018, arXiv 1708.02182, section 5).
        """
        start = 0
        while start < self.rows - 2:
            length = random_length(bptt, generator)
            yield self.window(start, length)
            start += length


def require_rows(tokens: Tokens, count: int, what: str, setting: str) -> int:
    """How many rows `count` columns of this text have: 3 or more, else `DataError`."""
    rows = len(tokens) // count
    if rows < 3:
        raise DataError(
            f"{what} has {len(tokens):,} tokens, too few for {setting} {count}: each of the {count} columns it is cut "
            f"into needs 3 or more; allowed are at most {len(tokens) // 3} columns, or take a longer text"
        )
    return rows


def random_length(bptt: int, generator: torch.Generator) -> int:
    """A window's length; see `Columns.random`."""
    half = torch.rand((), generator=generator, device=generator.device) < HALVED
    middle = bptt / 2 if bool(half) else float(bptt)
    drawn = middle + SPREAD * float(torch.randn((), generator=generator, device=generator.device))
    return min(max(SHORTEST, int(drawn)), bptt + LONGEST_EXTRA)
