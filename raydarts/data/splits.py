"""Who learns from which images or tokens: one split for all trials of a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from raydarts.data.base import ImageArrays, ImageSource, Source
from raydarts.data.files import ImageFiles
from raydarts.data.settings import DataSettings
from raydarts.data.text import TextTokens
from raydarts.data.text_splits import TextSplits, split_text
from raydarts.errors import DataError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """Disjoint index arrays into the training images.

    `weight` and `alpha` are the halves of the bilevel split. `search` is both together: what a retraining learns from.
    `validation` is held out of all of it. The test images are all of the source's. `shared` holds what the users of the
    split in this process share while they use it, by name: one copy of a part's images.
    """

    source: ImageSource
    weight: Indices
    alpha: Indices
    validation: Indices
    shared: WeakValueDictionary[str, object] = field(
        default_factory=WeakValueDictionary, init=False, repr=False, compare=False
    )

    @property
    def search(self) -> Indices:
        return np.concatenate([self.weight, self.alpha])

    @property
    def test(self) -> Indices:
        return np.arange(len(self.source.test_labels), dtype=np.int64)

    @property
    def arrays(self) -> ImageArrays:
        """Returns the source if it is in memory. Raises `TypeError` if it is files."""
        if not isinstance(self.source, ImageArrays):
            raise TypeError(f"{self.source.name}: its images are files, not arrays")
        return self.source

    @property
    def files(self) -> ImageFiles:
        """Returns the source if it is files. Raises `TypeError` if it is in memory."""
        if not isinstance(self.source, ImageFiles):
            raise TypeError(f"{self.source.name}: its images lie in memory, not in files")
        return self.source


AnySplits = Splits | TextSplits
_KEPT = 2
_loaded: dict[str, AnySplits] = {}


def load_splits(settings: DataSettings) -> AnySplits:
    """Loads the data set and splits it. The process keeps it, because Ray's workers run many trials each.

    The last `_KEPT` are kept. The key is the settings as text, because a data set's settings may hold lists, which have
    no hash. Raises `DataError` if the data set cannot be read, a part of the split is empty, or the statistics have
    another number of channels.
    """
    kept = kept_splits(settings)
    return keep_splits(settings, split_of(settings.dataset.build().load(), settings)) if kept is None else kept


def keep_splits(settings: DataSettings, splits: AnySplits) -> AnySplits:
    """From now on `load_splits` returns this split, until it has been given others."""
    while len(_loaded) >= _KEPT:
        del _loaded[next(iter(_loaded))]
    _loaded[settings.model_dump_json()] = splits
    return splits


def kept_splits(settings: DataSettings) -> AnySplits | None:
    """Returns what `load_splits` returned and this process still keeps, or None."""
    return _loaded.get(settings.model_dump_json())


def split_of(source: Source, settings: DataSettings) -> AnySplits:
    """Returns a source split as by `load_splits`, with the given statistics."""
    if isinstance(source, TextTokens):
        return split_text(source, settings)
    return split(_normalised_as_given(source, settings), settings)


def _normalised_as_given(source: ImageSource, settings: DataSettings) -> ImageSource:
    channels = source.image_shape[0]
    for key in ("mean", "std"):
        given = getattr(settings, key)
        if given is not None and len(given) != channels:
            raise DataError(
                f"data.{key}: {len(given)} given, but {source.name}'s images have {channels} channel(s); "
                "give one value a channel, or none to have it computed"
            )
    return source.with_statistics(settings.mean, settings.std)


def split(source: ImageSource, settings: DataSettings) -> Splits:
    """Permutes by `split_seed`: the first `limit` images, then validation, alpha and weight parts."""
    order = np.random.default_rng(settings.split_seed).permutation(len(source.train_labels)).astype(np.int64)
    if settings.limit is not None:
        order = order[: settings.limit]
    held_out = round((settings.validation_fraction or 0) * len(order))
    validation, rest = order[:held_out], order[held_out:]
    cut = round((settings.alpha_fraction or 0) * len(rest))
    alpha, weight = rest[:cut], rest[cut:]
    for name, part in (("weight", weight), ("alpha", alpha)):
        if len(part) < 2:
            raise DataError(
                f"{source.name}: the {name} part of the split has {len(part)} of {len(order)} images; "
                "change data.limit, data.validation_fraction or data.alpha_fraction"
            )
    if settings.holds_out and not held_out:
        raise DataError(f"{source.name}: data.validation_fraction holds out none of {len(order)} images; raise it")
    return Splits(source, weight, alpha, validation)
