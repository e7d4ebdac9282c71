"""benchmarks/authors.py refuses what it cannot run in words, and runs old code on this torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.scripts import ROOT, script

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def authors() -> Any:
    return script("benchmarks/authors.py")


@pytest.mark.parametrize("made", ["nothing", "a file", "another project", "half of it"])
def test_a_path_that_is_no_checkout_ends_in_words(
    authors: Any, made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "darts"
    if made == "a file":
        path.write_text("")
    elif made != "nothing":
        (path / "cnn").mkdir(parents=True)
        (path / "cnn" / ("model_search.py" if made == "half of it" else "main.py")).write_text("")
    assert authors.main([str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{path}: not a checkout of the authors' DARTS code" in said
    assert "architect.py" in said
    assert ("model_search.py" in said) == (made != "half of it")
    assert "git clone" in said
    assert len(said.splitlines()) == 1


def test_files_of_these_names_with_other_code_end_in_words(
    authors: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in authors.FILES:
        (tmp_path / name).write_text("")
    monkeypatch.setattr(authors, "agreed", lambda folder, arguments: authors.Authors(folder, "first", arguments, None))
    assert authors.main([str(tmp_path)]) == 2
    assert "not the code that this script knows" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["0", "-1", "many"])
def test_a_size_that_is_no_number_is_refused(authors: Any, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        authors.main([str(tmp_path), "--batch", wrong])
    assert ended.value.code == 2


ADAPTED = """
import torch
from torch import nn
from torch.nn import functional as F
from script_authors import adapt

reduce, usual = nn.Conv2d(6, 4, 1, stride=2, bias=False), nn.Conv2d(6, 4, 3, stride=2, padding=1)
images = torch.randn(2, 6, 9, 9)
before = reduce(images), usual(images)
a, b, factor = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]), torch.tensor(0.5)
adapt()
assert torch.allclose(reduce(images), before[0]) and torch.equal(usual(images), before[1])
assert reduce.cuda() is reduce and a.cuda() is a and a.cuda(non_blocking=True) is a
assert a.sub(0.5, b).tolist() == [-4.0, -8.0] and a.sub(factor, b).tolist() == [-4.0, -8.0]
assert a.clone().add_(factor, b).tolist() == [6.0, 12.0] and a.clone().sub_(2 * factor, b).tolist() == [-9.0, -18.0]
assert a.clone().add_(b).tolist() == [11.0, 22.0] and a.sub(b, alpha=2).tolist() == [-19.0, -38.0]
"""


def test_old_calls_mean_what_they_meant() -> None:
    """In a process of its own: torch is changed."""
    code = f"from tests.scripts import script; script('benchmarks/authors.py')\n{ADAPTED}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ratios_are_of_the_same_round(authors: Any) -> None:
    measured = {
        ("authors", "first"): ([10.0, 20.0], 500.0),
        ("raydarts", "first"): ([2.0, 5.0], 250.0),
        ("authors", "second"): ([30.0, 60.0], 600.0),
        ("raydarts", "second"): ([6.0, 10.0], 300.0),
    }
    result = authors.summary(measured)
    assert result["orders"]["first"]["times_faster"] == [5.0, 4.0]
    assert result["orders"]["second"]["times_faster_least"] == 5.0
    assert result["second_to_first"] == {"authors": [3.0, 3.0], "raydarts": [3.0, 2.0]}


class Named(nn.Module):
    """A stand-in for a network whose weights are not all ours."""

    def __init__(self, search: Any) -> None:
        super().__init__()
        self.stem, self.classifier = search.supernet.stem, search.supernet.classifier
        self.cells, self.more = nn.ModuleList(), nn.Linear(2, 2)


def test_weights_that_ours_does_not_have_are_refused(authors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Search:
        supernet = nn.Module()

    Search.supernet.stem, Search.supernet.classifier = nn.Linear(2, 2), nn.Linear(2, 2)
    Search.supernet.cells = nn.ModuleList()
    monkeypatch.setitem(sys.modules, "genotypes", type("genotypes", (), {"PRIMITIVES": ["none"]}))
    with pytest.raises(authors.NotTheirCodeError, match="weights that ours does not have"):
        authors.same_weights(Named(Search), Search)


def test_gradients_are_put_in_one_row(authors: Any) -> None:
    alphas: list[Tensor] = [torch.zeros(2, 2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    (alphas[0].sum() + 3 * alphas[1].sum()).backward()
    assert authors.flat_gradient(alphas).tolist() == [1.0, 1.0, 1.0, 1.0, 3.0]
