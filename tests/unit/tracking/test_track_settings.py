"""The spec's `track:` section: what it takes, what it refuses, and that secrets are refused without being told."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import load_plain, load_spec
from raydarts.config.track import TrackSettings
from raydarts.errors import SpecError
from raydarts.tracking import settings_of

SECRET = "0123456789abcdef0123456789abcdef01234567"


def load(folder: Path, track: str) -> TrackSettings | None:
    (folder / "spec.yaml").write_text(f"data: {{dataset: digits}}\n{track}")
    return load_spec(folder / "spec.yaml").track


def refused(folder: Path, track: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(folder, track)
    return str(caught.value)


def test_absent_is_no_tracking(tmp_path: Path) -> None:
    assert load(tmp_path, "") is None
    assert settings_of({"spec": {"fake": True}}) == TrackSettings()


def test_it_survives_run_json(tmp_path: Path) -> None:
    track = "track: {wandb: {mode: offline, project: mine, tags: [a, b]}, tensorboard: true}"
    found = load(tmp_path, track)
    loaded = load_spec(tmp_path / "spec.yaml")
    assert found is not None
    assert found.wandb is not None
    assert (found.wandb.mode, found.wandb.project, found.wandb.tags) == ("offline", "mine", ("a", "b"))
    assert load_plain(loaded.to_plain(), "run.json").track == found
    assert settings_of({"spec": loaded.to_plain()}) == found


def test_unknown_keys_and_wrong_values_are_named_with_their_line(tmp_path: Path) -> None:
    told = refused(tmp_path, "track:\n  wandb:\n    mode: offlin\n    api_key: x\n    finish_seconds: 0\n")
    assert "spec.yaml:4" in told
    assert "track.wandb.mode" in told
    assert "track.wandb.api_key" in told
    assert "track.wandb.finish_seconds" in told


@pytest.mark.parametrize("key", ["project", "entity", "tags"])
@pytest.mark.parametrize("secret", [SECRET, f"wandb_v1_{SECRET}"])
def test_what_looks_like_a_key_is_refused_and_not_repeated(tmp_path: Path, key: str, secret: str) -> None:
    value = f"[{secret}]" if key == "tags" else secret
    told = refused(tmp_path, f"track: {{wandb: {{{key}: {value}}}}}")
    assert "WANDB_API_KEY" in told
    assert SECRET not in told
