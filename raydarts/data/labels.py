"""Labels of arrays as class numbers 0, 1, 2, .... All whole numbers may stand for the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raydarts.errors import DataError

_NAMED = 10


@dataclass(frozen=True)
class Classes:
    """`values` holds the label of each class, ascending. The labels of both parts are positions in it, int64 `(n,)`."""

    values: tuple[int, ...]
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def flat_labels(array: NDArray[np.generic], key: str, count: int) -> NDArray[np.generic]:
    """Returns whole numbers `(count,)`. An axis of length 1 is dropped. Raises `DataError` that says what it is
    instead.
    """
    what = f"{key} must be {count} whole numbers, one an image, not {array.dtype} of shape {array.shape}"
    if array.shape not in {(count,), (count, 1), (1, count)}:
        raise DataError(f"{what}{_several(array, key, count)}")
    kind = array.dtype.kind
    if kind not in "iu":
        hints = {
            "f": f"; if they are class numbers, save them as {key}.astype('int64')",
            "b": f"; save them as {key}.astype('int64')",
            **dict.fromkeys("US", f"; number the classes: numpy.unique({key}, return_inverse=True)"),
        }
        raise DataError(what + hints.get(kind, ""))
    return array.reshape(count)


def _several(array: NDArray[np.generic], key: str, count: int) -> str:
    if array.ndim == 2 and len(array) == count and array.shape[1] > 1:
        return f"; if they are one-hot (a column a class), save {key}.argmax(1); an image has one label"
    return ""


def classes_of(train: NDArray[np.generic], test: NDArray[np.generic]) -> Classes:
    """Makes the distinct training labels the classes. Raises `DataError` with everything that makes no sense."""
    problems: list[str] = []
    for key, labels in (("train_labels", train), ("test_labels", test)):
        low, high = int(labels.min()), int(labels.max())
        if low < 0:
            problems.append(
                f"{key} has the negative label {low}, which is no class: leave its images out, or give them a number"
            )
        if high > np.iinfo(np.int64).max:
            problems.append(f"{key} has the label {high}, which is no class number")
    if problems:
        raise DataError("\n".join(problems))
    train, test = train.astype(np.int64), test.astype(np.int64)
    values = np.unique(train)
    if unseen := np.setdiff1d(test, values).tolist():
        problems.append(
            f"test_labels has {_some(unseen)}, which no training image has ({_some(values.tolist())}): nothing can be "
            "learned of it"
        )
    if len(values) < 2:
        problems.append(f"all of train_labels is {values[0]}; at least two classes are needed")
    elif 2 * len(values) > len(train):
        problems.append(
            f"train_labels has {len(values)} different labels for {len(train)} images, fewer than two images a class: "
            "are they numbers of images, or values to be predicted?"
        )
    if problems:
        raise DataError("\n".join(problems))
    return Classes(tuple(values.tolist()), np.searchsorted(values, train), np.searchsorted(values, test))


def _some(values: list[int]) -> str:
    more = f", ... ({len(values)} in all)" if len(values) > _NAMED else ""
    return f"label {', '.join(map(str, values[:_NAMED]))}{more}"
