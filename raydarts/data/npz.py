"""Your own images, as arrays in an .npz file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from raydarts import registry
from raydarts.data.base import Dataset, ImageArrays
from raydarts.data.labels import Classes, classes_of, flat_labels
from raydarts.data.npz_members import Header, headers, read_arrays, require_memory
from raydarts.data.paths import DataPath, is_file, shown
from raydarts.errors import DataError

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
_QUICK = 500e6
_FEW = 4
"""Most channels of usual images: grey, grey with alpha, RGB, RGB with alpha."""


@dataclass(frozen=True)
class _Contents:
    """A valid file: the headers of its four arrays, and the classes that its labels name."""

    wanted: dict[str, Header]
    others: tuple[str, ...]
    classes: Classes


class Npz(Dataset):
    """An .npz file with train_images, train_labels, test_images, test_labels. Images are uint8, NHWC (or NHW).

    Labels are whole numbers from 0. The distinct train_labels are the classes, in ascending order. Gaps between them
    are no classes. test_labels may have no others.
    """

    NAME = "npz"
    SOURCE = "numpy.savez; read with allow_pickle=False"

    class Settings(registry.Settings):
        file: DataPath = Field(
            description="The .npz file with train_images, train_labels, test_images and test_labels."
        )

    def check(self) -> None:
        """Reads the labels and the headers of the images."""
        self._contents()

    def preview(self) -> ImageArrays | None:
        """Returns what `load` returns if the arrays are quickly read."""
        contents = self._contents()
        return self._loaded(contents) if sum(header.bytes for header in contents.wanted.values()) <= _QUICK else None

    def load(self) -> ImageArrays:
        return self._loaded(self._contents())

    def _contents(self) -> _Contents:
        file = self.settings.file
        if not is_file(file):
            raise DataError(f"{file}: there is no such file (an .npz with {', '.join(KEYS)})")
        arrays = headers(file)
        if missing := [key for key in KEYS if key not in arrays]:
            names = shown(", ".join(arrays)[:200]) or "nothing"
            raise DataError(f"{file}: {', '.join(missing)} missing (it holds {names})")
        wanted = {key: arrays[key] for key in KEYS}
        problems = [problem for part in ("train", "test") for problem in _problems(part, wanted)]
        shapes = [_with_channels(wanted[key].shape)[1:] for key in ("train_images", "test_images")]
        if not problems and shapes[0] != shapes[1]:
            problems.append(f"training images are {shapes[0]}, test images {shapes[1]}; they must agree")
        if problems:
            raise DataError("\n".join(f"{file}: {problem}" for problem in problems))
        require_memory(file, list(wanted.values()))
        try:
            classes = _classes(file, wanted)
        except DataError as error:
            raise DataError("\n".join(f"{file}: {line}" for line in str(error).splitlines())) from None
        return _Contents(wanted, tuple(key for key in arrays if key not in KEYS), classes)

    def _loaded(self, contents: _Contents) -> ImageArrays:
        file = self.settings.file
        images = read_arrays(file, {key: contents.wanted[key] for key in ("train_images", "test_images")})
        train, test = (
            array.reshape(_with_channels(array.shape)).astype(np.uint8, copy=False) for array in images.values()
        )
        notes = [f"{file}: not read: {shown(', '.join(contents.others)[:200])}"] if contents.others else []
        values = contents.classes.values
        return ImageArrays.of(
            Path(file).stem,
            train,
            contents.classes.train,
            test,
            contents.classes.test,
            len(values),
            classes=tuple(map(str, values)),
            notes=tuple(notes),
        )


def _classes(file: str, wanted: dict[str, Header]) -> Classes:
    keys = ("train_labels", "test_labels")
    arrays = read_arrays(file, {key: wanted[key] for key in keys})
    counts = [wanted[key].shape[0] for key in ("train_images", "test_images")]
    train, test = (flat_labels(arrays[key], key, count) for key, count in zip(keys, counts, strict=True))
    return classes_of(train, test)


def _with_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1) if len(shape) == 3 else shape


def _problems(part: str, wanted: dict[str, Header]) -> list[str]:
    """Returns what is wrong with the images of a part, by their header."""
    images, labels = wanted[f"{part}_images"], wanted[f"{part}_labels"]
    key, shape, dtype = f"{part}_images", images.shape, images.dtype
    must = f"{key} must be uint8 of shape (n, height, width, channels) with n > 0, not {dtype} of shape {shape}"
    problems = []
    if len(shape) not in (3, 4) or not images.bytes:
        problems.append(must + _flat_hint(key, shape))
    elif len(shape) == 4 and labels.shape[:1] == shape[-1:] != shape[:1]:
        problems.append(f"{must}; the images' number seems to stand last: save numpy.moveaxis({key}, -1, 0)")
    elif len(shape) == 4 and _channels_first(shape):
        problems.append(f"{must}; its channels seem to stand first: save {key}.transpose(0, 2, 3, 1)")
    if dtype != np.uint8 and len(shape) in (3, 4):
        problems.append(f"{key} must be uint8, values from 0 to 255, not {dtype}{_scale_hint(key, dtype)}")
    return problems


def _flat_hint(key: str, shape: tuple[int, ...]) -> str:
    side = round(shape[1] ** 0.5) if len(shape) == 2 else 0
    if side > 1 and side**2 == shape[1]:
        return f"; if each row is an image, save {key}.reshape(-1, {side}, {side})"
    return ""


def _scale_hint(key: str, dtype: np.dtype[np.generic]) -> str:
    if dtype.kind == "f":
        return (
            f"; of values from 0 to 1 save ({key} * 255).round().astype('uint8'), of values from 0 to 255 "
            f"{key}.round().astype('uint8')"
        )
    if dtype.kind == "b":
        return f"; save ({key} * 255).astype('uint8')"
    if dtype.kind in "iu":
        return f"; if no value is above 255 or below 0 save {key}.astype('uint8'), otherwise scale them first"
    return ""


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Returns whether `(n, a, b, c)` cannot mean height, width, channels.

    That is so if there are more channels than usual images have, and the height would be a usual number of channels. It
    is also so if the width equals that number in images that are not square.
    """
    _, height, width, channels = shape
    return channels > _FEW and (height <= _FEW or (width == channels != height))
