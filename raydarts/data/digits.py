"""scikit-learn's digits: the built-in default without a download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from raydarts.data.base import Dataset, ImageArrays
from raydarts.errors import DataError

TEST_IMAGES = 360
SPLIT = Path(__file__).with_name("digits_split.npy")
"""The order of the images, `(1797,)`: the training images first, then the test images."""


class Digits(Dataset):
    """Handwritten digits that scikit-learn ships: 1,797 grey images of 8x8 pixels, 10 classes.

    scikit-learn has no test split. Ours is a fifth of the images (360), stratified by class. It was drawn once with
    scikit-learn's `train_test_split` (seed 20180624) and is stored in a file, so that no version of scikit-learn
    changes it. Values 0..16 become 0..240.
    """

    NAME = "digits"
    SOURCE = "scikit-learn load_digits (UCI optical recognition of handwritten digits, test part)"

    def preview(self) -> ImageArrays:
        return self.load()

    def load(self) -> ImageArrays:
        table = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
        images, labels = (table[:, :64] * 15).reshape(-1, 8, 8, 1), table[:, 64].astype(np.int64)
        order = np.load(SPLIT)
        train, test = order[:-TEST_IMAGES], order[-TEST_IMAGES:]
        return ImageArrays.of("digits", images[train], labels[train], images[test], labels[test], 10)


def _file() -> Path:
    """Returns the table that `load_digits` reads. It does not import scikit-learn, which takes a second in every
    process.
    """
    package = find_spec("sklearn")
    places = [] if package is None else list(package.submodule_search_locations or ())
    files = [Path(place) / "datasets" / "data" / "digits.csv.gz" for place in places]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise DataError("digits: scikit-learn, which ships them, is not installed: pip install scikit-learn")
    return file
