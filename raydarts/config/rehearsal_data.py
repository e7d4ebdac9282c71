"""The data of a rehearsal: as few images or tokens as its batches need, or made-up ones where the data are absent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from raydarts.data.base import Size, size_of
from raydarts.data.settings import DataSettings
from raydarts.errors import DataError, InputError
from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.search.settings import SearchSettings


def real_size(data: DataSettings) -> tuple[Size, bool]:
    """What the real data hold, after `data.limit`, and whether they are there. Raises `InputError` where neither they
    are there nor their size is known.
    """
    dataset = data.dataset.build()
    there = dataset.at_hand
    size = None
    if there:
        try:
            dataset.check()
            size = size_of(dataset.load())
        except DataError:
            there = False
    size = dataset.published() if size is None else size
    if size is None:
        raise InputError(
            f"data.dataset {data.dataset.name}: it is not there, and what it holds is not known beforehand, so that "
            "nothing can be made up in its shape; put it there, or rehearse on other data: --set data.dataset=digits"
        )
    return (size if data.limit is None else replace(size, train=min(size.train, data.limit))), there


def few_data(
    data: DataSettings,
    searches: Sequence[SearchSettings],
    trainings: Sequence[EvaluationSettings | LanguageSettings],
    batches: int,
    note: Callable[[str, None], object],
) -> tuple[dict[str, Any], float]:
    """Returns data with enough images or tokens for so many batches, and by how much more the real ones have."""
    size, there = real_size(data)
    changed = data.model_dump(mode="json")
    least = max((math.ceil(need) for need in _needs(data, searches, trainings, batches)), default=4)
    train = min(max(least, 8), size.train)
    of = data.dataset.plain() if there else None
    if data.kind == "text":
        share = train / size.train
        columns = [settings.text.measured_columns for settings in (*searches, *trainings) if hasattr(settings, "text")]
        tests = [training.test_columns for training in trainings if isinstance(training, LanguageSettings)]
        alpha = [2 * each.batch_size * each.text.bptt for each in searches] if data.alpha_from == "validation" else []
        validation = max([math.ceil(size.validation * share), *(8 * count for count in columns), *alpha])
        changed["dataset"] = {
            "name": "rehearsal_text",
            "of": of,
            "train": train,
            "validation": min(validation, size.validation),
            "test": min(max([40, *(4 * count for count in tests)]), size.test),
            "vocabulary": size.vocabulary,
        }
        what = "tokens"
    else:
        shape = {"height": size.height, "width": size.width, "channels": size.channels, "classes": size.classes}
        test = min(size.test, 16)
        changed["dataset"] = {"name": "rehearsal_images", "of": of, "train": train, "test": test, **shape}
        what = "images"
    changed["limit"] = None
    made = "" if there else ", made up in its shape, as it is not there"
    if train < size.train or not there:
        note(f"data {data.dataset.name}: {train:,} training {what} (of {size.train:,}){made}", None)
    return changed, size.train / train


def _needs(
    data: DataSettings,
    searches: Sequence[SearchSettings],
    trainings: Sequence[EvaluationSettings | LanguageSettings],
    batches: int,
) -> Iterator[float]:
    """How many training images or tokens each job needs for so many batches."""
    held = data.validation_fraction or 0.0
    alpha = 0.0 if data.alpha_from == "validation" else data.alpha_fraction or 0.5
    smaller = min(1 - alpha, alpha) if alpha else 1.0
    if data.kind == "text":
        for search in searches:
            yield search.batch_size * (batches * search.text.bptt + 1) / smaller + 2
        for training in trainings:
            if isinstance(training, LanguageSettings):
                yield training.batch_size * (batches * training.text.bptt + 1) + 2
        return
    for search in searches:
        yield (batches * search.batch_size + 1) / smaller / (1 - held) + 2
    for training in trainings:
        yield (batches * training.batch_size + 1) / (1 - held) + 2
    if held:
        yield 1.2 / held
