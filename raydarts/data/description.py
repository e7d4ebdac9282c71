"""Describes what a data set holds, in lines for people, once before training."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from raydarts.data.base import ImageArrays, ImageSource
from raydarts.data.files import Head, ImageFiles, head_of, path_of
from raydarts.data.paths import shown
from raydarts.data.settings import DataSettings
from raydarts.data.splits import AnySplits, Splits, load_splits, split_of
from raydarts.data.text import UNKNOWN, TextTokens, Tokens
from raydarts.data.text_splits import TextSplits
from raydarts.errors import DataError

_NAMED = 12
_HEADS = 2000
_MOST_BYTES = 4e9
"""Of pixels that are compared with each other: some seconds."""


def described(settings: DataSettings, *, load: bool) -> list[str]:
    """Returns what the data set holds. The first line starts with its name. Raises `DataError` if it cannot be used.

    With `load` the data are loaded and kept, as in trials. Otherwise only what takes seconds and no download is read.
    """
    splits: AnySplits | None
    if load:
        try:
            splits = load_splits(settings)
        except MemoryError as error:
            raise DataError(
                f"data.dataset: {settings.dataset.name} does not fit into this machine's memory; use a machine with "
                f"more, or {_smaller(settings)}"
            ) from error
    else:
        preview = settings.dataset.build().preview()
        splits = None if preview is None else split_of(preview, settings)
    name = f"data {settings.dataset.name}"
    if splits is None:
        return [f"{name}: not looked at here; it is read when trials start"]
    lines = _of_text(splits) if isinstance(splits, TextSplits) else _of_images(splits)
    first, *others = (shown(line) for line in lines)
    return [f"{name}: {first}", *(f"  {line}" for line in others), *_idle(settings, splits)]


def _idle(settings: DataSettings, splits: AnySplits) -> Iterator[str]:
    """Returns which settings do nothing with these data."""
    is_text = isinstance(splits, TextSplits)
    there = len(splits.source.train) if isinstance(splits, TextSplits) else len(splits.source.train_labels)
    if settings.limit is not None and settings.limit >= there:
        what = "tokens" if is_text else "images"
        yield f"does nothing: data.limit is {settings.limit:,}, and there are {there:,} training {what}; leave it out"


def _smaller(settings: DataSettings) -> str:
    """Returns how the data take less memory."""
    return "data.dataset.stream: true" if hasattr(settings.dataset.settings, "stream") else "fewer data"


def _of_images(splits: Splits) -> Iterator[str]:
    source = splits.source
    channels, height, width = source.image_shape
    yield (
        f"{len(source.train_labels):,} training and {len(source.test_labels):,} test images, {height} x {width} pixels "
        f"(height x width), {channels} channel{'s' if channels > 1 else ''}{_values(source)}"
    )
    yield from _classes(source)
    parts = {"weights": splits.weight, "alpha": splits.alpha, "held out": splits.validation}
    yield "training images are split: " + ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
    yield from source.notes
    for name, part in parts.items():
        if len(part) and (absent := _absent(source.train_labels[part], source)):
            yield f"{name}: no image of {absent}"
    files = source if isinstance(source, ImageFiles) else source.files
    if files is not None:
        yield from _of_files(files)
    if isinstance(source, ImageArrays):
        yield from _oddities(source)


def _values(source: ImageSource) -> str:
    if isinstance(source, ImageFiles):
        return ", in files"
    return f", values {source.train_images.min()} to {source.train_images.max()}"


def _names(source: ImageSource) -> Sequence[str]:
    return source.classes or [str(number) for number in range(source.num_classes)]


def _classes(source: ImageSource) -> Iterator[str]:
    train, test = (np.bincount(labels, minlength=source.num_classes) for labels in _labels(source))
    names = _names(source)
    if len(names) <= _NAMED:
        each = ", ".join(f"{name} {one:,} + {two:,}" for name, one, two in zip(names, train, test, strict=True))
        yield f"{len(names)} classes (training + test images): {each}"
    else:
        few, many = int(train.argmin()), int(train.argmax())
        yield (
            f"{len(names):,} classes, {names[0]} to {names[-1]}; training images of each: from {train[few]:,} "
            f"({names[few]}) to {train[many]:,} ({names[many]})"
        )
    if absent := _absent(source.test_labels, source):
        yield f"test: no image of {absent}"


def _labels(source: ImageSource) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return source.train_labels, source.test_labels


def _absent(labels: NDArray[np.int64], source: ImageSource) -> str:
    """Returns the classes that have none of these labels, or an empty text."""
    names = _names(source)
    absent = np.flatnonzero(np.bincount(labels, minlength=source.num_classes) == 0)
    more = f", ... ({len(absent)} classes in all)" if len(absent) > _NAMED else ""
    return ("class " + ", ".join(names[place] for place in absent[:_NAMED]) + more) if len(absent) else ""


def _of_files(files: ImageFiles) -> Iterator[str]:
    """Returns what some thousand files, evenly chosen, say of themselves."""
    whole = np.concatenate([files.train_files, files.test_files])
    step = -(-len(whole) // _HEADS)
    seen = [head_of(path_of(files.root, file)) for file in whole[::step]]
    heads = [head for head in seen if head is not None]
    looked = f"of {len(seen):,} files looked into, " if step > 1 else ""
    if unread := [path for path, head in zip(whole[::step], seen, strict=True) if head is None]:
        yield f"{looked}{len(unread):,} cannot be read as images, and end what needs them ({os.fsdecode(unread[0])})"
    if not heads:
        return
    sizes = [sorted(getattr(head, side) for head in heads) for side in ("height", "width")]
    low, high = (f"{sizes[0][end]} x {sizes[1][end]}" for end in (0, -1))
    yield (
        f"{looked}files are {low if low == high else f'from {low} to {high}'} pixels; the shorter side is resized to "
        f"{files.view.resize}, {files.view.size} x {files.view.size} are cut out of the middle"
    )
    smaller = sum(min(head.height, head.width) < files.view.resize for head in heads)
    if smaller:
        yield f"{looked}{smaller:,} are smaller than that, and are enlarged"
    for what, count in Counter(what for head in heads for what in _seen(head, files.view.as_seen)).items():
        yield f"{looked}{count:,} {what}"


def _seen(head: Head, as_seen: bool) -> tuple[str, ...]:
    transparent = "with transparent parts: " + ("laid over white" if as_seen else "the colours stored there are taken")
    turned = "with an EXIF rotation: " + ("turned upright" if as_seen else "taken as they are stored")
    deep = "with more than 8 bits a channel: refused when they are read; save them with 8 bits"
    frames = "with several frames: the first is taken"
    which = {transparent: head.transparent, turned: head.turned, frames: head.frames, deep: head.deep}
    return tuple(what for what, holds in which.items() if holds)


def _oddities(source: ImageArrays) -> Iterator[str]:
    """Returns what is probably a mistake: images of one colour, equal images with two labels or in both parts.

    Raises `DataError` if all training images are the same.
    """
    if all(np.array_equal(image, source.train_images[0]) for image in source.train_images):
        raise DataError(
            f"data.dataset {source.name}: all {len(source.train_images):,} training images are the same, so that "
            "nothing can be learned from them: look at how they were saved"
        )
    for part, images in (("training", source.train_images), ("test", source.test_images)):
        if blank := sum(bool((image == image[0, 0]).all()) for image in images):
            yield f"{blank:,} of the {part} images are of one colour throughout"
    if source.train_images.max() <= 1:
        yield "no value is above 1: images cast from numbers between 0 and 1 have lost nearly all they showed"
    if source.train_images.nbytes + source.test_images.nbytes > _MOST_BYTES:
        return
    label_of: dict[bytes, int] = {}
    unlike = 0
    for image, label in zip(source.train_images, source.train_labels.tolist(), strict=True):
        unlike += label_of.setdefault(_digest(image), label) != label
    again = sum(_digest(image) in label_of for image in source.test_images)
    if unlike:
        yield f"{unlike:,} training images are the same as an earlier one of another class"
    if again:
        yield (
            f"{again:,} of the {len(source.test_images):,} test images are training images too: test figures say "
            f"{'nothing' if again == len(source.test_images) else 'less'} of new images"
        )


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _of_text(splits: TextSplits) -> Iterator[str]:
    source = splits.source
    parts = {"training": source.train, "validation": source.validation, "test": source.test}
    yield ", ".join(f"{name} {len(tokens):,}" for name, tokens in parts.items()) + (
        f" tokens; {len(source.vocabulary):,} different ones in the vocabulary"
    )
    yield f"training tokens are split: weights {len(splits.weight):,}, alpha {len(splits.alpha):,}"
    yield from source.notes
    yield from _unknown(source, parts)
    known = np.unique(source.train)
    for name, tokens in list(parts.items())[1:]:
        if new := int((~np.isin(tokens, known)).sum()):
            yield f"{new:,} of the {name} tokens are words that the training text does not have"
        for other, text in parts.items():
            if other == name:
                break
            if _holds(text, tokens):
                yield f"the {name} text lies within the {other} text: its figures say nothing of new text"


def _unknown(source: TextTokens, parts: dict[str, Tokens]) -> Iterator[str]:
    if UNKNOWN in source.vocabulary:
        place = source.vocabulary.index(UNKNOWN)
        shares = ", ".join(f"{name} {(tokens == place).mean():.1%}" for name, tokens in parts.items())
        yield f"{UNKNOWN}: {shares}"


def _holds(text: Tokens, part: Tokens) -> bool:
    """Returns whether `part` is a part of `text`."""
    if len(part) > len(text):
        return False
    starts = np.flatnonzero(text[: len(text) - len(part) + 1] == part[0])
    for offset in range(min(len(part), 20)):
        starts = starts[text[starts + offset] == part[offset]]
    return any(np.array_equal(text[start : start + len(part)], part) for start in starts[:1000])
