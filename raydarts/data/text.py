"""Texts as token numbers: what a text data set returns, and how words become numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raydarts.data.text_lines import lines_of
from raydarts.errors import DataError
from raydarts.tasks import LanguageModelling

EOS, UNKNOWN = "<eos>", "<unk>"
PARTS = ("train", "validation", "test")
Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """A line's tokens, with `<eos>` last, and its place in the file."""

    tokens: tuple[str, ...]
    file: str
    number: int


Text = Sequence[Line]


@dataclass(frozen=True)
class TextTokens:
    """Three texts in memory, before the training text is split.

    `train`, `validation`, `test` are int64 `(n,)`: each token's position in `vocabulary`, in reading order. `notes`
    says what a user should know about how they were read, one line each.
    """

    name: str
    train: Tokens
    validation: Tokens
    test: Tokens
    vocabulary: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> LanguageModelling:
        return LanguageModelling(len(self.vocabulary))

    @classmethod
    def of(cls, name: str, texts: Sequence[Text], vocabulary: Sequence[str]) -> TextTokens:
        """Returns training, validation and test text in this vocabulary. A missing token becomes `<unk>`.

        Raises `DataError` with file and line if the vocabulary has no `<unk>`, or if a part has fewer than two tokens.
        """
        places = {token: place for place, token in enumerate(vocabulary)}
        parts = [numbered(text, places) for text in texts]
        for part, text, tokens in zip(PARTS, texts, parts, strict=True):
            if len(tokens) < 2:
                where = f"{text[0].file}: " if text else ""
                raise DataError(
                    f"{where}the {part} text of {name} is empty ({len(tokens)} tokens); a model learns and is "
                    "measured on pairs of a token and the next, so each part needs two or more"
                )
        notes = (*_written_ends(texts), *_without_spaces(texts))
        return cls(name, parts[0], parts[1], parts[2], tuple(vocabulary), notes)


def as_line(words: Iterable[str], file: str, number: int) -> Line:
    """Returns a line of words with `<eos>` at its end, as in the authors' code (rnn/data.py)."""
    return Line((*words, EOS), file, number)


def read_text(path: Path) -> list[Line]:
    """Returns the lines of a file, split at whitespace. Raises `DataError` if it is missing, empty or not UTF-8."""
    lines = [as_line(words.split(), str(path), number) for number, words in enumerate(lines_of(path), start=1)]
    if all(len(line.tokens) == 1 for line in lines):
        raise DataError(f"{path}: holds no word")
    return lines


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """Reads a file with one token a line, in the order of their numbers.

    Raises `DataError` with the line.
    """
    numbers: dict[str, int] = {}
    for number, line in enumerate(lines_of(path), start=1):
        words = line.split()
        if len(words) != 1:
            raise DataError(f"{path}:{number}: a vocabulary has one token a line, here are {len(words)}")
        if words[0] in numbers:
            raise DataError(f"{path}:{number}: '{words[0]}' stands already in line {numbers[words[0]]}")
        numbers[words[0]] = number
    if EOS not in numbers:
        raise DataError(f"{path}: lacks {EOS}, which ends each line of a text; add it as a line of its own")
    return tuple(numbers)


def _written_ends(texts: Iterable[Text]) -> Iterable[str]:
    """Returns a note if texts hold `<eos>` as a word already. Such lines end twice."""
    for text in texts:
        count = sum(line.tokens.count(EOS) for line in text) - len(text)
        if count > 0:
            yield f"{text[0].file}: holds {EOS} {count:,} times as a word, beside the one that ends each line"


def _without_spaces(texts: Iterable[Text]) -> Iterable[str]:
    """Returns a note if words are not split by whitespace, as in a table with commas or in Chinese."""
    for text in texts:
        if len(text) > 1 and all(len(line.tokens) <= 2 for line in text):  # a word and `<eos>`
            yield f"{text[0].file}: no line has more than one word; words are parted by whitespace alone"


def closed_vocabulary(texts: Iterable[Text]) -> tuple[str, ...]:
    """Returns every token of all parts in order of first use, as in the authors' code. No token is unknown."""
    return tuple(dict.fromkeys(token for text in texts for line in text for token in line.tokens))


def frequent_vocabulary(train: Text, size: int) -> tuple[str, ...]:
    """Returns `<unk>`, `<eos>`, and the `size - 2` other most frequent tokens of the training text.

    Equally frequent ones are in alphabetical order.
    """
    counts = Counter(token for line in train for token in line.tokens)
    counts.pop(UNKNOWN, None)
    ordered = sorted(counts, key=lambda token: (-counts[token], token))
    kept = [EOS, *(token for token in ordered if token != EOS)][: size - 1]
    return (UNKNOWN, *kept)


def numbered(text: Text, places: dict[str, int]) -> Tokens:
    """Token numbers, int64 `(n,)`. A missing token becomes `<unk>`. Raises `DataError` if that is missing too."""
    unknown = places.get(UNKNOWN)
    numbers: list[int] = []
    for line in text:
        for token in line.tokens:
            place = places.get(token, unknown)
            if place is None:
                raise DataError(
                    f"{line.file}:{line.number}: '{token}' is not in the vocabulary (data.dataset.vocabulary), which "
                    f"has no {UNKNOWN} to stand for it; add '{token}' or {UNKNOWN} to it, or leave vocabulary out"
                )
            numbers.append(place)
    return np.array(numbers, dtype=np.int64)
