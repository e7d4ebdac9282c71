"""Who learns from which images: one split, the same for every trial of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raydarts.data.base import ImageArrays
from raydarts.data.settings import DataSettings
from raydarts.errors import DataError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Disjoint index arrays into the training images.

    `weight` and `alpha` are the halves of the bilevel split, `search` both together (what a retraining
    learns from), `validation` what is held out of all of it. The test images are all of `arrays.test_images`.
    """

    arrays: ImageArrays
    weight: Indices
    alpha: Indices
    validation: Indices

    @property
    def search(self) -> Indices:
        return np.concatenate([self.weight, self.alpha])

    @property
    def test(self) -> Indices:
        return np.arange(len(self.arrays.test_images), dtype=np.int64)


_KEPT = 2
_loaded: dict[str, Splits] = {}


def load_splits(settings: DataSettings) -> Splits:
    """Load the data set and split it. Kept for the process: Ray's workers run many trials each.

    The last `_KEPT` are kept, by the settings written out (a data set's own may hold lists, which do
    not hash). Raises `DataError` where the data set cannot be read or a part of the split is empty.
    """
    key = settings.model_dump_json()
    if key not in _loaded:
        splits = split(settings.dataset.build().load(), settings)
        while len(_loaded) >= _KEPT:
            del _loaded[next(iter(_loaded))]
        _loaded[key] = splits
    return _loaded[key]


def split(arrays: ImageArrays, settings: DataSettings) -> Splits:
    """A permutation by `split_seed`: the first `limit` images, then validation, alpha and weight parts."""
    order = np.random.default_rng(settings.split_seed).permutation(len(arrays.train_images)).astype(np.int64)
    if settings.limit is not None:
        order = order[: settings.limit]
    held_out = round(settings.validation_fraction * len(order))
    validation, rest = order[:held_out], order[held_out:]
    cut = round(settings.alpha_fraction * len(rest))
    alpha, weight = rest[:cut], rest[cut:]
    for name, part in (("weight", weight), ("alpha", alpha)):
        if len(part) < 2:
            raise DataError(
                f"{arrays.name}: the {name} part of the split has {len(part)} of {len(order)} images; "
                "change data.limit, data.validation_fraction or data.alpha_fraction"
            )
    if settings.validation_fraction > 0 and not held_out:
        raise DataError(f"{arrays.name}: data.validation_fraction holds out none of {len(order)} images; raise it")
    return Splits(arrays, weight, alpha, validation)
