"""Batches that worker processes read from files while training."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from raydarts.cpus import usable_cpus
from raydarts.data.batches import PreparedImages
from raydarts.data.files import View, path_of, read
from raydarts.data.settings import AugmentSettings
from raydarts.data.splits import Splits
from raydarts.errors import DataError
from raydarts.streams import Share

Request = tuple[int, int | None]
"""Which image (position in the part), and the seed of its random window (None: its middle)."""

_WITHOUT_FORK = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class ImageStream(PreparedImages):
    """A part of `ImageFiles`. `workers` processes decode the files. Everything else happens on the device.

    Each image has its own seed for its random window. The seeds come from the `augment` generator before the pass. So
    the batches do not depend on the number of workers. One pass runs at a time. The workers of training passes live as
    long as the object. A pass in order starts and ends its own.
    """

    def __init__(
        self, splits: Splits, part: str, device: torch.device | str, dtype: torch.dtype, augment: AugmentSettings | None
    ) -> None:
        super().__init__(splits, part, device, dtype, augment)
        source = splits.files
        files = source.test_files if part == "test" else source.train_files
        area = None if augment is None else augment.random_resized_crop
        root = str(Path(source.root).absolute())  # workers may run elsewhere
        self._reader = _Reader(root, files[getattr(splits, part)], source.view, area)
        self._workers = min(source.workers, usable_cpus())
        self._requests = _Requests()
        self._training: DataLoader[Tensor | str] | None = None
        self._passes = 0

    def _training_images(self, chosen: Sequence[Tensor], generator: torch.Generator, share: Share) -> Iterator[Tensor]:
        seeds: list[int | None] = [None] * len(self)
        if self._reader.area is not None:
            seeds = torch.randint(0, 2**62, (len(self),), generator=generator, device=self.device).tolist()
        drawn = iter(seeds)
        requests = []
        for numbers in chosen:
            whole = [(number, next(drawn)) for number in numbers.tolist()]
            rows = len(whole) // share.size
            requests.append(whole[share.rank * rows : (share.rank + 1) * rows])
        if self._training is None:
            self._training = self._loader(self._requests, persistent=self._workers > 0)
        self._requests.batches = requests
        self._passes += 1
        mine = self._passes
        for images in self._read(self._training):
            yield images
            if self._passes != mine:
                raise RuntimeError("a second pass over a stream began before this one ended")

    def _images_in_order(self, places: Sequence[range]) -> Iterator[Tensor]:
        requests = _Requests()
        requests.batches = [[(number, None) for number in place] for place in places]
        yield from self._read(self._loader(requests, persistent=False))

    def _loader(self, requests: _Requests, persistent: bool) -> DataLoader[Tensor | str]:
        """Makes a loader. Its workers start from a clean process.

        Forking a process that holds threads of Ray or CUDA may hang.
        """
        context = None
        if self._workers > 0:
            context = multiprocessing.get_context(_WITHOUT_FORK)
            if _WITHOUT_FORK == "forkserver":
                context.set_forkserver_preload(["__main__", "raydarts.data.streaming"])  # torch is imported once
        return DataLoader(
            self._reader,
            batch_sampler=requests,
            num_workers=self._workers,
            collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=context,
            persistent_workers=persistent,
            generator=torch.Generator(),  # else it draws from torch's global one
        )

    def _read(self, loader: DataLoader[Tensor | str]) -> Iterator[Tensor]:
        for item in loader:
            if isinstance(item, str):
                raise DataError(item)
            yield item.to(self.device, non_blocking=True)


class _Requests:
    """The batches of the next pass."""

    def __init__(self) -> None:
        self.batches: list[list[Request]] = []

    def __iter__(self) -> Iterator[list[Request]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Reader(Dataset[Tensor]):
    """Lives in the workers. For a file that cannot be read it returns the message, so that there is one clear error."""

    def __init__(self, root: str, files: NDArray[np.bytes_], view: View, area: tuple[float, float] | None) -> None:
        self.root, self.files, self.view, self.area = root, files, view, area

    def __getitem__(self, request: Request) -> Tensor:
        number, seed = request
        path = path_of(self.root, self.files[number])
        if seed is None:
            return torch.from_numpy(read(path, self.view).copy())
        generator = torch.Generator().manual_seed(seed)
        return torch.from_numpy(read(path, self.view, self.area, generator).copy())

    def __getitems__(self, requests: list[Request]) -> Tensor | str:
        try:
            return torch.stack([self[request] for request in requests])
        except DataError as error:
            return str(error)


def _as_it_is(item: object) -> object:
    return item
