"""scikit-learn's digits: the embedded default, no download."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from raydarts.data.base import Dataset, ImageArrays

TEST_FRACTION = 0.2
TEST_SEED = 20180624


class Digits(Dataset):
    """Handwritten digits that scikit-learn ships: 1,797 grey images of 8x8 pixels, 10 classes.

    It has no test split of its own: ours is a fifth of the images (360), stratified by class, drawn
    once with a fixed seed. Values 0..16 become 0..240.
    """

    NAME = "digits"
    SOURCE = "scikit-learn load_digits (UCI optical recognition of handwritten digits, test part)"

    def preview(self) -> ImageArrays:
        return self.load()

    def load(self) -> ImageArrays:
        found = load_digits()
        images = (found.images * 15).astype(np.uint8)[..., None]
        train, test, train_labels, test_labels = train_test_split(
            images,
            found.target.astype(np.int64),
            test_size=TEST_FRACTION,
            random_state=TEST_SEED,
            stratify=found.target,
        )
        return ImageArrays.of("digits", train, train_labels, test, test_labels, 10)
