"""Batches of a text: columns side by side, cut into pieces of varying length, with the hidden state carried on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from raydarts.data.batches import Batches, as_tensor
from raydarts.data.settings import TextSettings
from raydarts.data.text import Tokens
from raydarts.errors import DataError
from raydarts.tasks import Batch

SHORTEST, LONGER = 5, 20


class TextBatches(Batches):
    """Tokens as batches `(T, B)`. Column b of a batch continues where column b of the batch before ended.

    The tokens are laid in B columns of equal length. The rest (fewer than B) is left out. Each token but a column's
    first is predicted once in a pass. A pass starts at the beginning of the columns without a hidden state: the first
    batch's `memory` is None. `carry` gives each batch the state after the batch before. So there is no state between
    two passes, and a search that continues at the end of an epoch needs none.

    This follows the authors' code (rnn/train_search.py, rnn/train.py), with three differences. Alpha-batches draw their
    own lengths (theirs always have `bptt`). A batch that the text's end cuts short scales the learning rate by its real
    length (theirs by the drawn length). A last batch of one token is learned from too.
    """

    def __init__(self, name: str, tokens: Tokens, device: torch.device | str, settings: TextSettings) -> None:
        self.name = name
        self.tokens = as_tensor(tokens).to(device)
        self.settings = settings
        self._memory: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def measured_size(self, batch_size: int) -> int:
        return int(self.settings.measured_columns)

    def batch_statistics_size(self, batch_size: int) -> int | None:
        """Returns None.

        The one batch norm of a recurrent cell serves all its nodes in all time steps. So its running statistics depend
        little on what was drawn. The statistics of one time step come from only a few columns (docs/method.md).
        """
        return None

    def require(self, batch_size: int) -> None:
        if len(self) < 2 * batch_size:
            raise DataError(
                f"{self.name} has {len(self)} tokens, too few for {batch_size} columns of two tokens at least; "
                f"{len(self) // 2} columns can be had: make batch_size or text.measured_columns smaller, "
                "or take a longer text"
            )

    def carry(self, memory: Tensor | None) -> None:
        self._memory = memory

    def epoch(self, batch_size: int, order: torch.Generator, augment: torch.Generator) -> Iterator[Batch]:
        """Yields one pass. Lengths are drawn from `order`.

        Nothing is drawn from `augment`, because tokens are never changed.
        """
        return self._passed(batch_size, lambda: self.length(order))

    def sequential(self, batch_size: int) -> Iterator[Batch]:
        """Yields one pass of `batch_size` columns, `bptt` tokens at a time."""
        return self._passed(batch_size, lambda: self.settings.bptt)

    def length(self, generator: torch.Generator) -> int:
        """Returns the next batch's tokens for each column. It draws twice. The normal draw is only for `bptt_deviation`
        > 0.
        """
        settings = self.settings
        device = generator.device
        short = bool(torch.rand((), generator=generator, device=device) < settings.short_probability)
        length = settings.bptt / 2 if short else settings.bptt
        if settings.bptt_deviation == 0:
            return max(1, int(length))
        drawn = torch.randn((), generator=generator, device=device, dtype=torch.float64)
        length = max(SHORTEST, int(length + settings.bptt_deviation * float(drawn)))
        return min(length, settings.bptt + LONGER)

    def _passed(self, columns: int, length: Callable[[], int]) -> Iterator[Batch]:
        self.require(columns)
        rows = len(self) // columns
        laid = self.tokens[: rows * columns].view(columns, rows).T.contiguous()
        self._memory = None
        start = 0
        while start < rows - 1:
            stop = min(start + length(), rows - 1)
            scale = (stop - start) / self.settings.bptt
            yield Batch(laid[start:stop], laid[start + 1 : stop + 1], self._memory, scale)
            start = stop
