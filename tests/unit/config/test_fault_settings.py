"""epoch_timeout and out_of_memory in a spec: what is taken over, what is refused and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.errors import SpecError

SPEC = """\
data: {dataset: digits}
search: {epochs: 2}
rungs:
  - {top_k: 3}
  - {top_k: 3, resources: {gpus: 1}, out_of_memory: null, epoch_timeout: 5}
evaluate:
  top_k: 2
  epoch_timeout: 600
  resources: {gpus: 0.25}
  out_of_memory: {retries: 1}
"""


def load(folder: Path, text: str) -> LoadedSpec:
    (folder / "s.yaml").write_text(text)
    return load_spec(folder / "s.yaml")


def test_rungs_inherit_fault_settings_and_may_override_them(tmp_path: Path) -> None:
    stages = load(tmp_path, SPEC).stages
    assert stages.evaluate is not None
    first, second = stages.rungs
    assert first.out_of_memory == stages.evaluate.out_of_memory is not None
    assert (first.epoch_timeout, second.epoch_timeout) == (600, 5)
    assert first.out_of_memory.grow == 2
    assert second.out_of_memory is None


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_a_share_that_cannot_grow_is_refused(tmp_path: Path, gpus: int) -> None:
    with pytest.raises(SpecError, match=rf"s.yaml:\d+: evaluate: .*resources.gpus is {gpus}; allowed: a share above 0"):
        load(tmp_path, SPEC.replace("gpus: 0.25", f"gpus: {gpus}"))


def test_a_limit_of_no_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"s.yaml:8: evaluate.epoch_timeout"):
        load(tmp_path, SPEC.replace("600", "0"))
