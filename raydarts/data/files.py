"""Images that stay in their files: the list of files, reading one, and statistics of all."""

from __future__ import annotations

import os
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

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation; 1: it is upright."""
_AT_ONCE = 256
_LONGEST = 1000
_NAMED = 10


@dataclass(frozen=True)
class View:
    """How a file becomes a square: the shorter side is resized to `resize`, then `size` pixels are cut out of the
    middle.

    With `as_seen` the image is first turned as its EXIF orientation says, and transparent parts are laid over white, as
    viewers show it. Otherwise pixels are used as they are stored, as torchvision does.
    """

    resize: int
    size: int
    as_seen: bool = False


@dataclass(frozen=True)
class ImageFiles:
    """Images that are read when they are needed, as RGB.

    - `train_files`, `test_files`: paths below `root`, encoded (`os.fsencode`), in the order of the labels, which are
      int64 `(n,)`.
    - `workers`: processes that read for each part in use. 0 means that the caller reads.
    - `given_mean`, `given_std`: statistics that make the pass over all training images unnecessary.
    - `classes`, `notes`: as in `ImageArrays`.
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
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
        """Returns the same files with these statistics. None keeps the present ones, or computes them."""
        return replace(self, given_mean=mean or self.given_mean, given_std=std or self.given_std)

    @cached_property
    def _computed(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and standard deviation of all training images. Whole numbers are summed, so it is exact."""
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
    """Returns one image, uint8 `(size, size, 3)`. With `area` it is a random window of the file instead of its middle.

    Resizes bilinearly with antialiasing, as torchvision's transforms do. Raises `DataError` with the file's name if it
    is missing, truncated or no image.
    """
    image = _decoded(path, view.as_seen)
    if area is None:
        return np.asarray(_middle(image, view, path))
    height, width, size = image.height, image.width, view.size
    drawn = draws_of(1, generator, "cpu")
    top, left, rows, columns = windows(drawn, height, width, area)[0].tolist()
    window = image.crop((left, top, left + columns, top + rows))
    return np.asarray(window.resize((size, size), Image.Resampling.BILINEAR))


def _decoded(path: str, as_seen: bool) -> Image.Image:
    """Returns the whole image as RGB, of several frames the first. Raises `DataError`."""
    try:
        with Image.open(path) as file:
            if _is_deep(file):
                raise DataError(
                    f"{path}: its pixels have more than 8 bits ({file.mode}); save it with 8 bits a channel"
                )
            if not as_seen:
                return file.convert("RGB")
            image = _on_white(file) if file.has_transparency_data else file.convert("RGB")
            turn = _UPRIGHT.get(_orientation(file))  # asked after decoding, which turns a TIFF by itself
            return image if turn is None else image.transpose(turn)
    except DataError:
        raise
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise DataError(f"{path}: cannot be read as an image: {str(error) or type(error).__name__}") from error


def _is_deep(file: Image.Image) -> bool:
    """Returns whether Pillow has no 8-bit form of the pixels. It would cut values off at 255."""
    return file.mode.startswith(("I", "F"))


@dataclass(frozen=True)
class Head:
    """What a file says of its image before it is decoded.

    - `turned`: its EXIF orientation is not upright.
    - `deep`: its pixels have more than 8 bits. `read` refuses those.
    """

    width: int
    height: int
    transparent: bool
    turned: bool
    frames: bool
    deep: bool


def head_of(path: str) -> Head | None:
    """Returns None if the file cannot be read. The error comes when its image is needed."""
    try:
        with Image.open(path) as file:
            frames = file.format != "MPO" and bool(getattr(file, "is_animated", False))  # MPO: a photo and its preview
            turned = _orientation(file) in _UPRIGHT
            return Head(file.width, file.height, file.has_transparency_data, turned, frames, _is_deep(file))
    except Exception:  # a decoder may raise anything on a damaged file
        return None


def _on_white(file: Image.Image) -> Image.Image:
    """Lays the image over white. Transparent parts often hold black or anything, which nobody has ever seen."""
    image = file.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _orientation(file: Image.Image) -> int:
    """Returns the EXIF orientation, or 1 (upright) if the file has none that can be read."""
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels are whole, whatever is in the EXIF block
        return 1


def _middle(image: Image.Image, view: View, path: str) -> Image.Image:
    short = min(image.size)
    width, height = (int(view.resize * side / short) for side in image.size)
    if max(width, height) > view.resize * _LONGEST:
        raise DataError(
            f"{path}: is {image.width} x {image.height} pixels; its longer side may be {_LONGEST} times the shorter at "
            "most, for a square in the middle is taken"
        )
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - view.size) / 2), round((height - view.size) / 2)
    return resized.crop((left, top, left + view.size, top + view.size))


def read_all(root: str, files: NDArray[np.bytes_], view: View, threads: int) -> Iterator[NDArray[np.uint8]]:
    """Returns every file's image in order.

    Raises one `DataError` with several names if files cannot be read.
    """
    problems: list[str] = []
    with ThreadPoolExecutor(max(1, min(threads, usable_cpus()))) as pool:
        for start in range(0, len(files), _AT_ONCE):
            paths = [path_of(root, file) for file in files[start : start + _AT_ONCE]]
            for result in pool.map(_read_or_say, paths, [view] * len(paths)):
                if isinstance(result, str):
                    problems.append(result)
                else:
                    yield result
            if len(problems) >= _NAMED:
                break
    if problems:
        raise DataError(listed(problems))


def path_of(root: str, file: bytes) -> str:
    """Returns the path of a listed file."""
    return str(Path(root) / os.fsdecode(file))


def _read_or_say(path: str, view: View) -> NDArray[np.uint8] | str:
    try:
        return read(path, view)
    except DataError as error:
        return str(error)


def listed(problems: Iterable[str]) -> str:
    """Returns the first ten problems, one line each."""
    lines = list(problems)
    more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return "\n".join([*lines[:_NAMED], *more])
