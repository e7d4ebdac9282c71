"""Names that become names of files: a run's, a stage's, and those derived from a file's name."""

from __future__ import annotations

import re
import unicodedata

from raydarts.errors import shortened

PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MOST = 100
"""Letters of a spec's or a transfer's name: the time, `-search` and a temporary name's ending still fit in the 255
bytes that a file name may have, and W&B's 128 characters of a group."""
MOST_OF_A_RUN = 128


def complaint(name: str, most: int = MOST) -> str | None:
    """What is wrong with a name, and what is allowed; None: nothing."""
    shown = shortened(name, 60)
    if not PATTERN.fullmatch(name):
        return f"'{shown}' is no name: letters, digits, '.', '_', '-', and first a letter or digit"
    if len(name) > most:
        return f"'{shown}' is too long: {len(name)} letters, and a name has at most {most}, since it names a folder"
    return None


def derived(text: str, default: str) -> str:
    """A name made of a text that may hold anything: `my sweep (1)` is `my-sweep-1`, `größe` is `grosse`."""
    text = text.replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-._")[:MOST].rstrip("-._") or default
