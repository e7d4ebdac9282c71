"""The token, and what a cluster that grows on demand may grow to."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raydarts.cluster import authentication, autoscaling
from raydarts.cluster.connection import keep_keys_out_of_logs
from raydarts.cluster.submission import connect_to_jobs
from raydarts.errors import ClusterError

CONFIG: dict[str, Any] = {
    "max_workers": 5,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}},
        "large": {"resources": {"CPU": 32, "GPU": 4}, "max_workers": 2},
        "small": {"resources": {"CPU": 4, "GPU": 1}, "max_workers": 10},
    },
}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", autoscaling.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_token_that_others_could_read_is_taken_from_them(home: Path) -> None:
    authentication.tighten_token()  # none there: nothing to do
    assert authentication.token() is None
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("ab" * 32)
    token.chmod(0o644)
    assert authentication.token() == "ab" * 32
    authentication.tighten_token()
    assert token.stat().st_mode & 0o777 == 0o600
    token.chmod(0o400)
    authentication.tighten_token()
    assert token.stat().st_mode & 0o777 == 0o400  # already its owner's alone


def test_whoever_starts_at_once_has_one_token(home: Path) -> None:
    def start(_: int) -> str | None:
        authentication.make_token()
        return authentication.token()

    with ThreadPoolExecutor(16) as pool:
        (token,) = set(pool.map(start, range(64)))
    assert re.fullmatch("[0-9a-f]{64}", str(token))
    (file,) = (home / ".ray").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_no_token_is_made_unless_needed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AUTH_MODE", "disabled"), ("AUTH_TOKEN", "ab" * 32), ("AUTH_TOKEN_PATH", str(home / "mine"))):
        with monkeypatch.context() as each:
            each.setenv(f"RAY_{name}", value)
            authentication.make_token()
    assert not list(home.iterdir())


def test_an_empty_path_names_no_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    authentication.make_token()
    assert authentication.token() == (home / ".ray" / "auth_token").read_text()


def test_a_home_that_takes_no_token_is_told(home: Path) -> None:
    (home / ".ray").touch()
    with pytest.raises(ClusterError, match=r"auth_token: .* cannot be written .*; set RAY_AUTH_TOKEN to one"):
        authentication.make_token()


def test_the_token_is_presented_unless_the_user_says_otherwise(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authentication.use_token_if_any()
    assert "RAY_AUTH_MODE" not in authentication.os.environ
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ab" * 32)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    authentication.use_token_if_any()
    assert authentication.os.environ["RAY_AUTH_MODE"] == "disabled"
    monkeypatch.delenv("RAY_AUTH_MODE")
    authentication.use_token_if_any()
    assert authentication.os.environ["RAY_AUTH_MODE"] == "token"


def test_the_most_is_the_largest_machines_first_within_the_limits() -> None:
    # 2 large, then 3 small: 5 in all.
    assert autoscaling.of_config(CONFIG) == {"CPU": 2 * 32 + 3 * 4, "GPU": 2 * 4 + 3}
    assert autoscaling.of_config(CONFIG | {"max_workers": 1}) == {"CPU": 32, "GPU": 4}


def test_cluster_maximum_comes_from_the_heads_file_or_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert autoscaling.maximum() == {}
    (home / autoscaling.BOOTSTRAP).write_text(
        "max_workers: 3\nhead_node_type: h\navailable_node_types: {h: {}, w: {resources: {CPU: 4, GPU: 1}}}\n"
    )
    assert autoscaling.maximum() == {"CPU": 12, "GPU": 3}
    monkeypatch.setenv(autoscaling.VARIABLE, "CPU=32,GPU=8")
    assert autoscaling.maximum() == {"CPU": 32, "GPU": 8}
    monkeypatch.setenv(autoscaling.VARIABLE, "eight")
    with pytest.raises(ClusterError, match="CPU=32,GPU=8"):
        autoscaling.maximum()


def test_an_empty_cluster_that_may_grow_is_planned_with(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from raydarts.cluster import connection as cluster

    monkeypatch.setattr(cluster, "connect", lambda address: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})
    assert cluster.capacity("auto") == {"cpus": 0, "gpus": 0}
    monkeypatch.setenv(autoscaling.VARIABLE, "CPU=32,GPU=8")
    assert cluster.capacity("auto") == {"cpus": 32, "gpus": 8}


def test_tune_copies_no_key_from_the_drivers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would log it: each trial's runtime environment stands in runtime_env_agent.log, values and all."""
    keep_keys_out_of_logs()
    from ray.tune.execution import class_cache

    assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]
    assert class_cache.ENV_VARS_TO_PROPAGATE  # the rest is still handed on


def test_without_the_extra_a_cluster_is_refused_with_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ClusterError, match=r"--address needs .*: pip install 'raydarts\[cluster\]'"):
        authentication.admit("127.0.0.1:1")
    monkeypatch.setattr("ray.dashboard.modules.job.sdk.requests", None)  # as Ray has it without the extra
    with pytest.raises(ClusterError, match=r"submitting needs .*: pip install 'raydarts\[cluster\]'"):
        connect_to_jobs("http://127.0.0.1:1")
