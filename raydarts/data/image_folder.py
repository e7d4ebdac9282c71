"""Your own images in folders, one folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import Field

from raydarts import registry
from raydarts.data.base import Dataset, ImageArrays, ImageSource
from raydarts.data.files import ImageFiles, View, read_all
from raydarts.data.folders import list_folders, require_folders
from raydarts.data.paths import DataPath, is_folder
from raydarts.errors import DataError
from raydarts.units import Pixels, Processes


class ImageFolder(Dataset):
    """Image files in ROOT/train/CLASS/ and ROOT/test/CLASS/ (or ROOT/val/CLASS/), as RGB squares.

    Images look as in a viewer: turned as their EXIF orientation says, with transparent parts on white, and the first of
    several frames. The shorter side is resized to `size` and the middle square is used. Images are kept in memory as
    uint8. With `stream` they are read while training, by `workers` processes for each part that is read at a time.
    Random windows are then cut out of the whole file, not of the square. Without `stream`, `workers` threads read the
    files.
    """

    NAME = "image_folder"
    SOURCE = "the layout of torchvision.datasets.ImageFolder"

    class Settings(registry.Settings):
        root: DataPath = Field(description="Folder with train/ and test/ (or val/). Each holds one folder a class.")
        size: Pixels = Field(ge=4, description="Side of the square that each image becomes.")
        stream: bool = Field(
            False, description="Whether images are read from their files while training, instead of kept in memory."
        )
        workers: Processes = Field(
            4, ge=0, description="Processes that decode images for each part that is read at a time."
        )

    def check(self) -> None:
        require_folders(Path(self.settings.root), "train", self._test)

    @property
    def _test(self) -> str:
        """Returns `test`, or `val` if only that exists."""
        root = Path(self.settings.root)
        return "val" if is_folder(root / "val") and not is_folder(root / "test") else "test"

    @property
    def in_files(self) -> bool:
        return bool(self.settings.stream)

    def load(self) -> ImageSource:
        listing = self.preview()
        if self.settings.stream:
            return listing
        self._require_memory(listing)
        train, test = (self._pixels(files, listing.view) for files in (listing.train_files, listing.test_files))
        return ImageArrays.of(
            listing.name,
            train,
            listing.train_labels,
            test,
            listing.test_labels,
            listing.num_classes,
            listing.classes,
            listing.notes,
            listing,
        )

    def preview(self) -> ImageFiles:
        """Returns the list of files. None is opened."""
        root = Path(self.settings.root)
        listing = list_folders(root, "train", self._test)
        return ImageFiles(
            root.resolve().name,
            str(root),
            listing.train_files,
            listing.train_labels,
            listing.test_files,
            listing.test_labels,
            len(listing.classes),
            View(self.settings.size, self.settings.size, as_seen=True),
            self.settings.workers,
            classes=listing.classes,
            notes=listing.notes,
        )

    def _require_memory(self, files: ImageFiles) -> None:
        """Requires memory for twice the pixels, because a part of a split is a copy."""
        needed = 2 * 3 * self.settings.size**2 * (len(files.train_files) + len(files.test_files))
        free = psutil.virtual_memory().available
        if needed > free:
            raise DataError(
                f"{self.settings.root}: in memory its images need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                "free; set stream: true, or a smaller size"
            )

    def _pixels(self, files: NDArray[np.bytes_], view: View) -> NDArray[np.uint8]:
        pixels = np.empty((len(files), view.size, view.size, 3), np.uint8)
        for number, image in enumerate(read_all(self.settings.root, files, view, self.settings.workers)):
            pixels[number] = image
        return pixels
