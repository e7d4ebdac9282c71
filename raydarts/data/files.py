"""Images that stay in their files: what is listed, how one is read, and statistics of them all."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from raydarts.cpus import usable_cpus
from raydarts.data.windows import draws_of, windows
from raydarts.errors import DataError
from raydarts.tasks import Classification

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_AT_ONCE = 256
_NAMED = 10


@dataclass(frozen=True)
class View:
    """How a file becomes a square: the shorter side is resized to `resize`, then `size` are cut out of the middle."""

    resize: int
    size: int


@dataclass(frozen=True)
class ImageFiles:
    """Images that are read when they are needed, as RGB.

    `train_files`, `test_files`: paths below `root`, encoded (`os.fsencode`), in the order of the labels,
    int64 `(n,)`. `workers` processes read for each part that is being passed over (0: the caller reads
    itself). `given_mean` and `given_std` spare the pass over all training images that computes them.
    """

    name: str
    root: str
    train_files: NDArray[np.bytes_]
    train_labels: NDArray[np.int64]
    test_files: NDArray[np.bytes_]
    test_labels: NDArray[np.int64]
    num_classes: int
    view: View
    workers: int
    given_mean: tuple[float, ...] | None = None
    given_std: tuple[float, ...] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (3, self.view.size, self.view.size)

    @property
    def task(self) -> Classification:
        return Classification(self.image_shape, self.num_classes)

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of pixels scaled to [0, 1]."""
        return self.given_mean or self._computed[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of pixels scaled to [0, 1]."""
        return self.given_std or self._computed[1]

    def with_statistics(self, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> ImageFiles:
        """The same files with these statistics; None keeps those it has, or leaves them to be computed."""
        return replace(self, given_mean=mean or self.given_mean, given_std=std or self.given_std)

    @cached_property
    def _computed(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of all training images as they are viewed. Sums of whole numbers: exact."""
        total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
        for image in read_all(self.root, self.train_files, self.view, self.workers):
            values = image.reshape(-1, 3).astype(np.int64)
            total, squares = total + values.sum(0), squares + (values**2).sum(0)
        count = len(self.train_files) * self.view.size**2
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return tuple((mean / 255).tolist()), tuple(np.maximum(deviation / 255, 1e-6).tolist())


def read(
    path: str, view: View, area: tuple[float, float] | None = None, generator: torch.Generator | None = None
) -> NDArray[np.uint8]:
    """One image, uint8 `(size, size, 3)`; with `area` a random window of the file instead of its middle.

    Resized bilinearly with antialiasing, as torchvision's transforms do. Raises `DataError` that names the
    file where it is absent, truncated or no image.
    """
    try:
        with Image.open(path) as file:
            if file.mode in _DEEP:
                raise DataError(
                    f"{path}: its pixels have more than 8 bits ({file.mode}); save it with 8 bits a channel"
                )
            image = file.convert("RGB")
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error
    if area is None:
        return np.asarray(_middle(image, view))
    height, width, size = image.height, image.width, view.size
    drawn = draws_of(1, generator, "cpu")
    top, left, rows, columns = windows(drawn, height, width, area)[0].tolist()
    window = image.crop((left, top, left + columns, top + rows))
    return np.asarray(window.resize((size, size), Image.Resampling.BILINEAR))


def _middle(image: Image.Image, view: View) -> Image.Image:
    short = min(image.size)
    width, height = (int(view.resize * side / short) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - view.size) / 2), round((height - view.size) / 2)
    return resized.crop((left, top, left + view.size, top + view.size))


def read_all(root: str, files: NDArray[np.bytes_], view: View, threads: int) -> Iterator[NDArray[np.uint8]]:
    """Every file in order. Goes on over files that cannot be read, to name several in one `DataError`."""
    problems: list[str] = []
    with ThreadPoolExecutor(max(1, min(threads, usable_cpus()))) as pool:
        for start in range(0, len(files), _AT_ONCE):
            paths = [path_of(root, file) for file in files[start : start + _AT_ONCE]]
            for found in pool.map(_read_or_say, paths, [view] * len(paths)):
                if isinstance(found, str):
                    problems.append(found)
                else:
                    yield found
            if len(problems) >= _NAMED:
                break
    if problems:
        raise DataError(listed(problems))


def path_of(root: str, file: bytes) -> str:
    """Where a listed file lies."""
    return str(Path(root) / os.fsdecode(file))


def _read_or_say(path: str, view: View) -> NDArray[np.uint8] | str:
    try:
        return read(path, view)
    except DataError as error:
        return str(error)


def listed(problems: Iterable[str]) -> str:
    """The problems, a line each, the first ten of them."""
    lines = list(problems)
    more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return "\n".join([*lines[:_NAMED], *more])
