"""The text that Python ships: the built-in default for language modelling without a download."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from raydarts import registry
from raydarts.data.base import Dataset
from raydarts.data.text import Line, Text, TextTokens, as_line, frequent_vocabulary
from raydarts.units import Tokens

_TOKEN = re.compile(r"[a-z_][a-z_0-9]*|[0-9]+|[^\sa-z0-9_]")
_TENTHS = (8, 9)  # of each topic's lines: training up to the first, validation up to the second, test to the end
NUMBER = "N"


class PydocTopics(Dataset):
    """The help topics of Python's documentation (`pydoc_data.topics`): some 100,000 tokens on the language.

    The text is lower case, whole numbers are N, and each punctuation mark is a token. Lines without a letter are left
    out. A paragraph that several topics share is kept once, so that no part repeats another's. Of each topic's lines
    the first eight tenths are training text, the next tenth validation text, the last tenth test text. Tokens beyond
    the `vocabulary_size` most frequent ones are `<unk>`.

    Python versions have different texts, so every number measured on them differs too. Compare runs of one version.
    """

    NAME = "pydoc_topics"
    SOURCE = "pydoc_data.topics of the running Python's standard library (PSF licence)"
    KIND: ClassVar[str] = "text"

    class Settings(registry.Settings):
        vocabulary_size: Tokens = Field(
            2000, ge=3, description="How many of the most frequent tokens are kept. The others become `<unk>`."
        )

    def preview(self) -> TextTokens:
        return self.load()

    def load(self) -> TextTokens:
        from pydoc_data.topics import topics  # noqa: PLC0415 - half a megabyte

        texts = parted({name: str(topics[name]) for name in sorted(topics)})
        return TextTokens.of(self.NAME, texts, frequent_vocabulary(texts[0], self.settings.vocabulary_size))


def parted(topics: dict[str, str]) -> Sequence[Text]:
    """Returns training, validation and test lines of topics, in their order."""
    seen: set[str] = set()
    parts: tuple[list[Line], list[Line], list[Line]] = ([], [], [])
    for name, topic in topics.items():
        lines: list[Line] = []
        for paragraph in re.split(r"\n\s*\n", topic):
            content = " ".join(paragraph.split())
            if content and content not in seen:
                seen.add(content)
                lines += _lines(paragraph, name)
        first, second = (len(lines) * tenth // 10 for tenth in _TENTHS)
        for part, some in zip(parts, (lines[:first], lines[first:second], lines[second:]), strict=True):
            part.extend(some)
    return parts


def _lines(paragraph: str, topic: str) -> list[Line]:
    lines = []
    for number, line in enumerate(paragraph.lower().splitlines(), start=1):
        if re.search("[a-z]", line):
            words = (NUMBER if word.isdigit() else word for word in _TOKEN.findall(line))
            lines.append(as_line(words, f"pydoc topic {topic}", number))
    return lines
