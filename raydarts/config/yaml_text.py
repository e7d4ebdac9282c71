"""Reads YAML text into plain values that know their lines, with limits on what a text may ask of the parser.

The parser is ruamel.yaml's for YAML 1.2: `1e-3` is a number, `on` a text, a repeated key an error. Two things are
changed here. Tabs between values, and before comments and line feeds, are read as YAML allows them. ruamel refuses
each. A tab as indentation is still an error. Every error has a line.
"""

from __future__ import annotations

from io import StringIO
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import RoundTripScanner

LARGEST_TEXT = 200_000
"""Characters; the longest spec that is shipped has 4,000."""
MAX_DEPTH = 60
MAX_NODES = 5_000
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep, so it is no spec"
_TAB = "found character '\\t' that cannot start any token"


class YamlTextError(ValueError):
    """What is wrong with a text, and its line (0: the whole text)."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Scanner(RoundTripScanner):
    """Reads tabs as white space, except at the start of a line."""

    def scan_to_next_token(self) -> object:
        self._skip_tabs()
        return super().scan_to_next_token()

    def fetch_flow_collection_start(self, *arguments: Any, **named: Any) -> None:
        if self.flow_level > MAX_DEPTH:  # checked here too, because the scanner reads far ahead of the composer
            raise YamlTextError(_TOO_DEEP, self.reader.line + 1)
        super().fetch_flow_collection_start(*arguments, **named)

    def scan_plain_spaces(self, indent: object, start_mark: object) -> object:
        length = 0
        while self.reader.peek(length) in (" ", "\t"):
            length += 1
        between = self.reader.prefix(length)
        if "\t" not in between:
            return super().scan_plain_spaces(indent, start_mark)
        self.reader.forward(length)
        if self.reader.peek() in "\0\r\n\x85\u2028\u2029":
            return super().scan_plain_spaces(indent, start_mark)  # the text continues in the next line
        return [between]

    def scan_block_scalar_ignored_line(self, start_mark: object) -> object:
        self._skip_tabs()
        return super().scan_block_scalar_ignored_line(start_mark)

    def _skip_tabs(self) -> None:
        if self.reader.column > 0:
            while self.reader.peek() in (" ", "\t"):
                self.reader.forward()


class _Composer(Composer):
    """Counts values while it reads them, so that it can stop at once in a text with too many."""

    _count = 0

    def compose_node(self, parent: object, index: object) -> object:
        self._count += 1
        if self._count > MAX_NODES:
            line = self.parser.peek_event().start_mark.line + 1
            raise YamlTextError(f"holds more than {MAX_NODES:,} values, so it is no spec", line)
        return super().compose_node(parent, index)


class _Constructor(RoundTripConstructor):
    """Gives a line to a value that cannot be built (a date with month 13, a number of 5,000 digits)."""

    def construct_object(self, node: Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, TypeError, AttributeError, KeyError, IndexError) as error:
            if isinstance(error, YAMLError):
                raise
            shown = " ".join(str(getattr(node, "value", ""))[:40].split())
            raise ConstructorError(
                None, None, f"cannot be read as a value: {shown!r}; quote it if it is a text", node.start_mark
            ) from error


def load(text: str) -> object:
    """Returns the value of a YAML text, as ruamel's containers that know their lines. Raises `YamlTextError`."""
    if len(text) > LARGEST_TEXT:
        raise YamlTextError(f"has {len(text):,} characters; at most {LARGEST_TEXT:,} are read")
    text = "\n".join(_without_tabs_at_the_ends(line) for line in text.split("\n"))
    yaml = YAML(typ="rt", pure=True)
    yaml.allow_duplicate_keys = False
    yaml.max_depth = MAX_DEPTH
    yaml.Scanner, yaml.Composer, yaml.Constructor = _Scanner, _Composer, _Constructor
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        _tell(error)
    except ReaderError as error:
        character = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
        line = text.count("\n", 0, error.position or 0) + 1
        raise YamlTextError(f"not readable as YAML: holds the control character U+{character:04X}", line) from error
    except YamlTextError:
        raise
    except (YAMLError, ValueError, RecursionError, AttributeError, TypeError, IndexError) as error:
        lines = str(error).splitlines()
        raise YamlTextError(f"not readable as YAML: {lines[0] if lines else type(error).__name__}") from error


def _without_tabs_at_the_ends(line: str) -> str:
    """Returns a line without tabs after its value, and without tabs before a comment of its own."""
    if "\t" not in line:
        return line
    line = line.rstrip(" \t\r")
    words = line.lstrip(" \t")
    return line[: len(line) - len(words)].replace("\t", " ") + words if words.startswith("#") else line


def _tell(error: MarkedYAMLError) -> NoReturn:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 0
    problem = (error.problem or str(error)).split("\n")[0]
    if "duplicate key" in problem:
        message = f"{problem.removeprefix('found ')}; a key may stand once, remove one of them"
    elif "maximum depth" in problem:
        message = _TOO_DEEP
    elif "another document" in problem:
        message = "a second document begins here ('---'); a file holds one spec"
    elif problem == _TAB:
        message = "not readable as YAML: a tab stands where only spaces may; indent by spaces"
    else:
        message = f"not readable as YAML: {problem}"
    raise YamlTextError(message, line) from error


def write(value: object) -> str:
    """Returns plain values as YAML that `read` reads back."""
    stream = StringIO()
    YAML(typ="rt", pure=True).dump(value, stream)
    return stream.getvalue()
