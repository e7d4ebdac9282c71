"""Ray's token: whether there is one, and that nobody else on this machine can read it.

Where Ray looks, first found wins: `RAY_AUTH_TOKEN` (the token), `RAY_AUTH_TOKEN_PATH` (a file), `~/.ray/auth_token`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def default_token_file() -> Path:
    """The file that Ray writes a new token to."""
    return Path.home() / ".ray" / "auth_token"


def has_token() -> bool:
    """Whether Ray would find a token."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return default_token_file().exists()


def use_token_if_any() -> None:
    """Present the token to the cluster where there is one. Comes before Ray is imported, which reads the mode then.

    `RAY_AUTH_MODE` as the user set it stays.
    """
    if has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def tighten_token() -> None:
    """Take the default token file from everybody but its owner: Ray makes it as the umask has it, often 0644."""
    path = default_token_file()
    try:
        found = path.stat()
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o600)
    except FileNotFoundError:
        pass
