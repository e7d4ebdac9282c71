"""Ray's token: whether there is one, and that nobody else on this machine can read it.

Where Ray looks, first found wins: `RAY_AUTH_TOKEN` (the token), `RAY_AUTH_TOKEN_PATH` (a file), `~/.ray/auth_token`.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from raydarts.errors import ClusterError

REFUSED = (
    "the cluster refuses this machine's token; it must be the one that the cluster was started with "
    "(~/.ray/auth_token, RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN; and RAY_AUTH_MODE=token, or unset)"
)
UNKNOWN = (
    "the cluster asks for a token, and this machine has none; put the one that the cluster was started with into "
    "~/.ray/auth_token (mode 0600), or into RAY_AUTH_TOKEN"
)


def default_token_file() -> Path:
    """The file that Ray writes a new token to. Raises `ClusterError` where this user has no home directory."""
    try:
        return Path.home() / ".ray" / "auth_token"
    except RuntimeError as error:
        raise ClusterError(f"Ray's token has no place: {error} Set HOME, or RAY_AUTH_TOKEN") from error


def token() -> str | None:
    """The token that Ray would find."""
    if value := os.environ.get("RAY_AUTH_TOKEN"):
        return value.strip()
    try:
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or default_token_file()).expanduser()
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError, RuntimeError, ClusterError):  # there is none to be read
        return None


def make_token() -> None:
    """Make the token that a Ray started here asks for, where there is none: for its owner alone, once for all.

    Ray would make one too, but open to the others and, of two Rays started at once, two: each would then refuse
    the other's file. Raises `ClusterError` where the home directory takes no file.
    """
    asked = os.environ.get("RAY_AUTH_MODE", "token").lower() == "token"
    if not asked or os.environ.get("RAY_AUTH_TOKEN_PATH") or token() is not None:
        return
    path = default_token_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:  # complete before anyone sees it
            written = Path(folder) / path.name
            written.touch(mode=0o600)
            written.write_text(secrets.token_hex(32), encoding="utf-8")
            with suppress(FileExistsError):  # somebody was faster
                path.hardlink_to(written)
        if token() is None:  # a file that is empty, or not to be read
            raise OSError("it holds no token")
    except OSError as error:
        raise ClusterError(
            f"{path}: the token that keeps others off the local Ray cannot be written ({error}); "
            "set RAY_AUTH_TOKEN to one (python -c 'import secrets; print(secrets.token_hex(32))')"
        ) from error


_OF_THIS_PROCESS = secrets.token_hex(32)
"""The token of Rays that are started here where the home directory takes none. Ray reads a token once in a process."""


def use_token_of_session(folder: Path) -> None:
    """Let the Ray that is started in `folder`, which is this user's alone, ask for a token that lies there."""
    path = folder / "auth_token"
    path.touch(mode=0o600)
    path.write_text(_OF_THIS_PROCESS, encoding="utf-8")
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def use_token_if_any() -> None:
    """Present the token where there is one. Comes before Ray is imported, which reads the mode then.

    `RAY_AUTH_MODE` as the user set it stays.
    """
    if token() is not None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def admit(address: str) -> None:
    """Present the token where the Ray at host:port asks for one, and only there: one that asks for none would not
    take this process' workers then. Comes before Ray is imported. Raises `ClusterError`; Ray itself tries for 20 s.
    """
    if "RAY_AUTH_MODE" in os.environ or _takes(address, None):
        return
    mine = token()
    if mine is None or not _takes(address, mine):
        raise ClusterError(f"--address {address}: {REFUSED if mine else UNKNOWN}")
    os.environ["RAY_AUTH_MODE"] = "token"


def _takes(address: str, presented: str | None) -> bool:
    """Whether the Ray at host:port lets a caller with this token in. One that says nothing is taken to."""
    try:
        import grpc  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ClusterError(
            f"--address needs what a cluster's Ray brings ({error}): pip install 'raydarts[cluster]'"
        ) from error

    with grpc.insecure_channel(address) as channel:
        # An empty request: is any node alive? Answered by every version, after the token was looked at.
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            ask(b"", timeout=10, metadata=(("authorization", f"Bearer {presented}"),) if presented else ())
        except grpc.RpcError as error:
            return bool(error.code() != grpc.StatusCode.UNAUTHENTICATED)
    return True


def tighten_token() -> None:
    """Take the default token file from everybody but its owner: Ray makes it as the umask has it, often 0644."""
    with suppress(OSError, ClusterError):  # there is none, or it is on a disk that takes no change
        path = default_token_file()
        status = path.stat()
        if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o077:
            path.chmod(0o600)
