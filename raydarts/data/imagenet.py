"""ImageNet, read from its files while training."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from raydarts import registry
from raydarts.data.base import Dataset, Size
from raydarts.data.files import ImageFiles, View
from raydarts.data.folders import list_folders, require_folders
from raydarts.data.paths import DataPath
from raydarts.errors import DataError
from raydarts.units import Pixels, Processes

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ImageNet(Dataset):
    """ImageNet (ILSVRC 2012): ROOT/train/CLASS/ and ROOT/val/CLASS/. `val` is the test part.

    Images are streamed: `workers` processes decode for each part that is read at a time. A search reads two parts.
    Without random windows an image's shorter side is resized to `resize`, and `size` x `size` pixels are cut out of the
    middle, as in the authors' evaluation. Images are normalised by the mean (.485, .456, .406) and standard deviation
    (.229, .224, .225) of the authors' code, train_imagenet.py, unless `data.mean` and `data.std` are set. Pixels are
    used as they are stored, without EXIF rotation, as in the authors' code.
    """

    NAME = "imagenet"
    SOURCE = "Russakovsky et al. 2015; sizes and statistics: DARTS authors' code, train_imagenet.py"

    class Settings(registry.Settings):
        root: DataPath = Field("data/imagenet", description="Folder with train/CLASS/ and val/CLASS/.")
        size: Pixels = Field(224, ge=4, description="Side of the square that each image becomes.")
        resize: Pixels = Field(
            256, ge=4, description="Length of an image's shorter side before the square is cut out of the middle."
        )
        workers: Processes = Field(
            4, ge=0, description="Processes that decode images for each part that is read at a time."
        )
        classes: int | None = Field(
            1000, ge=2, description="How many class folders there must be. `null` allows any number."
        )

        @model_validator(mode="after")
        def _square_fits(self) -> ImageNet.Settings:
            if self.resize < self.size:
                raise ValueError(f"resize ({self.resize}) must not be smaller than size ({self.size})")
            return self

    def published(self) -> Size:
        side, classes = self.settings.size, self.settings.classes
        return Size(1_281_167, 0, 50_000, side, side, 3, classes or 1000)

    @property
    def at_hand(self) -> bool:
        return all((Path(self.settings.root) / part).is_dir() for part in ("train", "val"))

    @property
    def in_files(self) -> bool:
        return True

    def check(self) -> None:
        require_folders(Path(self.settings.root), "train", "val")

    def load(self) -> ImageFiles:
        settings = self.settings
        listing = list_folders(Path(settings.root), "train", "val")
        if settings.classes not in (None, len(listing.classes)):
            raise DataError(
                f"{settings.root}: {len(listing.classes)} class folders, not {settings.classes}; unpack what is "
                "missing, "
                f"or set classes to {len(listing.classes)}"
            )
        return ImageFiles(
            "imagenet",
            settings.root,
            listing.train_files,
            listing.train_labels,
            listing.test_files,
            listing.test_labels,
            len(listing.classes),
            View(settings.resize, settings.size),
            settings.workers,
            MEAN,
            STD,
            listing.classes,
            listing.notes,
        )

    def preview(self) -> ImageFiles:
        return self.load()
