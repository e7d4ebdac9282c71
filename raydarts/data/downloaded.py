"""What data sets that torchvision downloads share."""

from __future__ import annotations

import fcntl
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raydarts import registry
from raydarts.data.base import Dataset, ImageArrays
from raydarts.data.paths import DataPath, is_there
from raydarts.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images, uint8 NHWC, and labels, int64."""


class Downloaded(Dataset):
    """Base of data sets that torchvision reads from `root`. It downloads them if asked to.

    torchvision compares each file with its MD5 sum before it reads it. Existing files are read where they are. Only one
    process at a time downloads to a folder.
    """

    TITLE: ClassVar[str]
    UNPACKED: ClassVar[str]
    """How to have the files without a download."""
    NUM_CLASSES: ClassVar[int]

    class Settings(registry.Settings):
        root: DataPath = Field("data", description="Folder that holds the data set's files.")
        download: bool = Field(True, description="Whether missing files are downloaded.")

    @property
    @abstractmethod
    def needed(self) -> tuple[str, ...]:
        """Returns the files or folders below `root` that `read` needs."""

    @abstractmethod
    def read(self, root: str, download: bool) -> tuple[Part, Part]:
        """Returns training and test part. Raises what torchvision raises."""

    @property
    def at_hand(self) -> bool:
        return all(is_there(Path(self.settings.root) / name) for name in self.needed)

    def check(self) -> None:
        root = Path(self.settings.root)
        missing = [str(root / name) for name in self.needed if not is_there(root / name)]
        if missing and not self.settings.download:
            raise DataError(f"{', '.join(missing)}: not there; {self.UNPACKED} in {root}, or set download: true")

    def load(self) -> ImageArrays:
        self.check()
        root = self.settings.root
        try:
            (train, labels), (test, test_labels) = self._read_or_download(root)
        except (RuntimeError, OSError, HTTPException) as error:
            raise DataError(
                f"{self.TITLE} cannot be had in {root}: {error}; {self.UNPACKED} there and set download: false, "
                f"so that {', '.join(self.needed)} lie in {root}; or use data.dataset npz with arrays of your own"
            ) from error
        return ImageArrays.of(self.NAME, train, labels, test, test_labels, self.NUM_CLASSES)

    def _read_or_download(self, root: str) -> tuple[Part, Part]:
        try:
            return self.read(root, download=False)
        except RuntimeError:  # absent or damaged
            if not self.settings.download:
                raise
        with one_at_a_time(Path(root)):
            return self.read(root, download=True)


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Lets one process at a time download to a folder. Two would damage each other's files."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".download.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cifar(dataset: type[CIFAR10], root: str, download: bool) -> tuple[Part, Part]:
    """Returns both parts of torchvision's CIFAR10 or CIFAR100."""
    train, test = (dataset(root, train=train, download=download) for train in (True, False))
    return ((train.data, np.asarray(train.targets, np.int64)), (test.data, np.asarray(test.targets, np.int64)))
