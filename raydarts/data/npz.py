"""Images of one's own, as arrays in an .npz file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raydarts import registry
from raydarts.data.base import Dataset, ImageArrays
from raydarts.errors import DataError

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
_UNREADABLE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Npz(Dataset):
    """An .npz file with train_images, train_labels, test_images, test_labels; images uint8, NHWC (or NHW)."""

    NAME = "npz"
    SOURCE = "numpy.savez; read with allow_pickle=False"

    class Settings(registry.Settings):
        file: str

    def check(self) -> None:
        if not Path(self.settings.file).is_file():
            raise DataError(f"{self.settings.file}: there is no such file (an .npz with {', '.join(KEYS)})")

    def load(self) -> ImageArrays:
        self.check()
        file = self.settings.file
        arrays = self._read()
        train, test = (self._images(arrays[f"{part}_images"], f"{part}_images") for part in ("train", "test"))
        train_labels = self._labels(arrays["train_labels"], "train_labels", len(train))
        test_labels = self._labels(arrays["test_labels"], "test_labels", len(test))
        if train.shape[1:] != test.shape[1:]:
            raise DataError(
                f"{file}: training images are {train.shape[1:]}, test images {test.shape[1:]}; they must agree"
            )
        num_classes = int(max(train_labels.max(), test_labels.max())) + 1
        if num_classes < 2:
            raise DataError(f"{file}: all labels are 0; at least two classes are needed")
        if num_classes > len(train):
            raise DataError(
                f"{file}: the largest label is {num_classes - 1} (train_labels, test_labels), but train_images has "
                f"only {len(train)} images; number the classes 0, 1, 2, ..."
            )
        return ImageArrays.of(Path(file).stem, train, train_labels, test, test_labels, num_classes)

    def _read(self) -> dict[str, NDArray[np.generic]]:
        """The four arrays as they are in the file; nothing is unpickled."""
        file, key = self.settings.file, ""
        if not zipfile.is_zipfile(file):
            raise DataError(f"{file}: not an .npz file, as numpy.savez writes it (with {', '.join(KEYS)})")
        try:
            with np.load(file, allow_pickle=False) as found:
                if missing := [key for key in KEYS if key not in found]:
                    raise DataError(
                        f"{file}: {', '.join(missing)} missing (it holds {', '.join(found.files) or 'nothing'})"
                    )
                arrays = {}
                for key in KEYS:
                    arrays[key] = np.asarray(found[key])
                return arrays
        except _UNREADABLE as error:
            raise DataError(f"{file}: {key or 'the file'} cannot be read: {error}") from error

    def _images(self, array: NDArray[np.generic], key: str) -> NDArray[np.uint8]:
        if array.ndim == 3:
            array = array[..., None]
        if array.dtype != np.uint8 or array.ndim != 4 or not array.size:
            raise DataError(
                f"{self.settings.file}: {key} must be uint8 of shape (n, height, width, channels) with n > 0, "
                f"not {array.dtype} of shape {array.shape}"
            )
        return array.astype(np.uint8, copy=False)

    def _labels(self, array: NDArray[np.generic], key: str, count: int) -> NDArray[np.int64]:
        if array.ndim != 1 or len(array) != count or array.dtype.kind not in "iu":
            raise DataError(
                f"{self.settings.file}: {key} must be {count} integers, one an image, "
                f"not {array.dtype} of shape {array.shape}"
            )
        low, high = int(array.min()), int(array.max())
        if low < 0:
            raise DataError(f"{self.settings.file}: {key} has the negative label {low}; classes count from 0")
        if high > np.iinfo(np.int64).max:
            raise DataError(f"{self.settings.file}: {key} has the label {high}, which is no class number")
        return array.astype(np.int64)
