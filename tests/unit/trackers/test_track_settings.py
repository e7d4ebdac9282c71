"""The spec's `track:` section: what it takes, what it refuses, and that secrets are refused without being told."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import load_plain, load_spec
from raydarts.config.track import TrackSettings
from raydarts.errors import SpecError
from raydarts.trackers import track_of
from raydarts.trackers.wandb import WandbSettings, settings_of

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
    assert track_of({"spec": {"fake": True}}) == {}
    assert settings_of({}) is None


def test_track_settings_are_read_back_from_run_json(tmp_path: Path) -> None:
    track = "track: {wandb: {mode: offline, project: mine, tags: [a, b]}, tensorboard: true}"
    found = load(tmp_path, track)
    loaded = load_spec(tmp_path / "spec.yaml")
    assert found is not None
    assert list(found.chosen) == ["wandb", "tensorboard"]
    wandb = found.chosen["wandb"].settings
    assert isinstance(wandb, WandbSettings)
    assert (wandb.mode, wandb.project, wandb.tags) == ("offline", "mine", ("a", "b"))
    assert load_plain(loaded.to_plain(), "run.json").track == found
    assert settings_of(track_of({"spec": loaded.to_plain()})) == wandb


def test_true_chooses_the_defaults_and_false_and_null_choose_nothing(tmp_path: Path) -> None:
    found = load(tmp_path, "track: {wandb: true, tensorboard: false}")
    assert found is not None
    assert found.model_dump() == {"wandb": WandbSettings().model_dump(mode="json")}
    wanted = TrackSettings.model_validate({"tensorboard": True})
    assert load(tmp_path, "track: {wandb: null, tensorboard: {}}") == wanted


def test_an_unknown_tracker_and_a_value_that_is_no_settings_are_named_with_their_line(tmp_path: Path) -> None:
    told = refused(tmp_path, "track:\n  wandb: {}\n  tensorbord: true\n")
    assert "spec.yaml:4: track.tensorbord: unknown tracker 'tensorbord'; did you mean 'tensorboard'?" in told
    assert "(allowed: mlflow, optuna_journal, tensorboard, wandb, or module:Class)" in told
    told = refused(tmp_path, "track:\n  wandb: 3\n  absent_module:Mine: {}\n")
    assert "spec.yaml:3: track.wandb: must be true, false or a mapping of keys, got 3" in told
    assert "spec.yaml:4: track.absent_module:Mine: cannot load tracker 'absent_module:Mine'" in told
    assert "must be a mapping of keys" in refused(tmp_path, "track: wandb")


def test_unknown_keys_and_wrong_values_are_named_with_their_line(tmp_path: Path) -> None:
    told = refused(tmp_path, "track:\n  wandb:\n    mode: offlin\n    api_key: x\n    finish_seconds: 0\n")
    assert "spec.yaml:4" in told
    assert "track.wandb.mode" in told
    assert "track.wandb.api_key" in told
    assert "track.wandb.finish_seconds" in told


@pytest.mark.parametrize("key", ["project", "entity", "tags"])
@pytest.mark.parametrize("secret", [SECRET, f"wandb_v1_{SECRET}"])
def test_value_that_looks_like_a_key_is_refused_and_not_printed(tmp_path: Path, key: str, secret: str) -> None:
    value = f"[{secret}]" if key == "tags" else secret
    told = refused(tmp_path, f"track: {{wandb: {{{key}: {value}}}}}")
    assert "WANDB_API_KEY" in told
    assert SECRET not in told
