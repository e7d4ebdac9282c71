"""The memory that is told before a sweep: how many searches share a process by it, the line, and the error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from raydarts.config.loader import LoadedSpec, load_spec
from raydarts.data.base import Size
from raydarts.errors import ResourceError
from raydarts.free_memory import FreeMemory
from raydarts.search.footprint import Footprint, data_bytes, footprint
from raydarts.search.settings import SearchSettings
from raydarts.study.costs import CONTEXT, USABLE
from raydarts.sweeping import memory
from tests.commands import Outcome, run_here

MIB, GIB = 2**20, 2**30
MACHINE = {"cpus": 2.0, "gpus": 1.0}
SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"dataset": "digits"},
    "search": {
        "epochs": 1,
        "batch_size": 16,
        "space": {"name": "darts-cnn", "channels": 2, "layers": 3, "nodes": 1},
        "estimator": "first_order",
    },
    "sweep": {"searcher": "grid", "replicates": list(range(16))},
}
LANE = 100 * MIB


def spec(**sweep: object) -> LoadedSpec:
    return load_spec({**SPEC, "sweep": {**SPEC["sweep"], **sweep}})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search needs 100 MiB of tensors, alone and as a lane."""
    monkeypatch.setattr(memory, "_footprint", lambda settings, size: Footprint(LANE, LANE))


def machine(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """A machine that lets searches use so much."""
    size /= memory.USED
    monkeypatch.setattr(memory, "free_memory", lambda: FreeMemory(int(size), "this machine"))


DATA = data_bytes(Size(1437, 0, 360, 8, 8, 1), 1437, in_files=False, on_a_gpu=False)
"""They are there once."""


def process(lanes: int) -> float:
    """What a process with so many of these searches needs."""
    return memory.PROCESS + memory.BESIDE * lanes * LANE


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("lanes", [1, 2, 5, 7])
def test_under_auto_so_many_share_a_process_as_fit(monkeypatch: pytest.MonkeyPatch, lanes: int) -> None:
    machine(monkeypatch, 2 * process(lanes) + DATA + MIB)  # two processes
    told = memory.told(spec(), MACHINE)
    assert told.loaded.most_lanes == lanes
    (line,) = told.lines
    assert line.startswith("memory: ")
    share = "no searches share a process, not 8" if lanes == 1 else f"up to {lanes} searches share a process, not 8"
    assert share in line
    assert "8 searches together need about 1.4" in line
    assert line.endswith("free, of which 80 % may be used by 2 processes")


@pytest.mark.usefixtures("counted")
def test_a_machine_with_enough_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2 * process(8) + DATA + MIB)
    told = memory.told(spec(), MACHINE)
    assert told.loaded.most_lanes is None
    assert told.lines == (
        "memory: a search needs about 535 MiB and 8 searches together need about 1.45 GiB; this machine has 3.61 GiB "
        "free, of which 80 % may be used by 2 processes",
    )


@pytest.mark.usefixtures("counted")
def test_where_not_even_one_fits_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, process(1) - MIB)
    told = memory.told(spec(), MACHINE)
    assert told.loaded.most_lanes == 1
    assert told.lines[-1].startswith("memory: a search may not fit: a search needs about 535 MiB; ")
    assert "sweep.max_concurrent" in told.lines[-1]
    only_one = memory.told(spec(fuse=8, replicates=[0]), MACHINE)
    assert [line.split(":")[1] for line in only_one.lines] == [" a search may not fit"], "and no error, as before"


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize(("fits", "what"), [(5, "5 fit at most: write fuse: 5"), (1, "one fits, and no two")])
def test_a_number_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch, fits: int, what: str) -> None:
    machine(monkeypatch, 2 * process(fits) + DATA + MIB)
    with pytest.raises(ResourceError, match=what) as caught:
        memory.told(spec(fuse=8), MACHINE)
    assert "sweep.fuse: 8 searches together need about 1.45 GiB, and this machine has" in str(caught.value)
    chosen = memory.told(spec(fuse=fits if fits > 1 else "off"), MACHINE).loaded
    assert chosen.most_lanes is None, "what the message says fits"


@pytest.mark.usefixtures("counted")
def test_a_number_above_what_one_process_can_have_but_with_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 trials in one process leave the other place empty: there is one process to count."""
    machine(monkeypatch, process(16) + DATA + MIB)
    assert memory.told(spec(fuse=16), MACHINE).loaded.most_lanes is None


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize(("share", "fuse"), [(1, "auto"), (0.5, 4)])
def test_on_a_gpu_its_memory_times_the_share_counts(
    monkeypatch: pytest.MonkeyPatch, share: float, fuse: int | str
) -> None:
    data = data_bytes(Size(1437, 0, 360, 8, 8, 1), 1437, in_files=False, on_a_gpu=True)
    room = (CONTEXT * GIB + data + 4 * LANE + MIB) / USABLE / share
    monkeypatch.setattr(memory, "gpu_memory", lambda: int(room))
    loaded = spec(fuse=fuse, resources={"gpus": share})
    told = memory.told(loaded, MACHINE)
    assert told.loaded.most_lanes == (4 if fuse == "auto" else None)
    assert "a GPU here has" in told.lines[0]
    monkeypatch.setattr(memory, "gpu_memory", lambda: int(room) - 3 * MIB / share)
    if fuse == "auto":
        assert memory.told(loaded, MACHINE).loaded.most_lanes == 3
    else:
        with pytest.raises(ResourceError, match="of which a process may use 46 %; 3 fit at most"):
            memory.told(loaded, MACHINE)


@pytest.mark.usefixtures("counted")
def test_what_is_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 1)
    for told in (
        memory.told(spec(), MACHINE, address="head:6379"),
        memory.told(spec(resources={"gpus": 1}), MACHINE),
    ):
        assert told.loaded.most_lanes is None
        assert told.lines[0].endswith("how much there is where trials run is not known here")
    assert memory.told(spec(), MACHINE, only="evaluate").lines == ()

    def refuse(settings: str, size: Size) -> Footprint:
        raise ValueError("a batch of 2 is too small")

    monkeypatch.setattr(memory, "_footprint", refuse)
    assert memory.told(spec(), MACHINE).lines == ("memory: not counted: a batch of 2 is too small",)


def test_the_structure_that_needs_most_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 64 * GIB)
    estimators = ["first_order", {"name": "exact_hvp", "xi": 0.1}, {"name": "exact_hvp", "xi": 0.2}]
    loaded = load_spec({**SPEC, "search": {**SPEC["search"], "estimator": {"choice": estimators}}})
    needed = memory.count(loaded)
    assert needed is not None
    assert (needed.structures, len(needed.footprints)) == (2, 2), "numbers make no structure"
    first, second = (footprint(each, Size(1437, 0, 360, 8, 8, 1, 10)) for each in _each(loaded))
    assert second.alone > first.alone
    assert (needed.data, needed.once) == (0, DATA)
    assert needed.process(1) == memory.PROCESS + int(memory.BESIDE * second.alone)
    monkeypatch.setattr(memory, "SHARE", 0.0)
    each_its_own = memory.count(loaded)
    assert each_its_own is not None
    assert (each_its_own.data, each_its_own.once) == (DATA, 0), "the object store has no room for them"
    monkeypatch.setattr(memory, "_SECONDS", -1.0)
    few = memory.count(loaded)
    assert few is not None
    assert few.footprints == needed.footprints[:1], "the structure that needs most comes first"
    assert few.partly == " (the largest 1 of 2 structures counted)"


def _each(loaded: LoadedSpec) -> list[SearchSettings]:
    return [next(each for each in loaded.drawn if each.estimator.name == name) for name in ("first_order", "exact_hvp")]


@pytest.fixture
def on_disk(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    plain = {**SPEC, "sweep": {"searcher": "grid", "replicates": [0, 1, 2, 3]}}
    file.write_text(yaml.safe_dump(plain))
    return file


def command(file: Path, *further: object) -> Outcome:
    return run_here("sweep", file, "--storage", file.parent, "--name", "run", *further)


@pytest.mark.usefixtures("local_sweeps", "counted")
def test_the_plan_and_the_sweep_say_it_once(monkeypatch: pytest.MonkeyPatch, on_disk: Path) -> None:
    machine(monkeypatch, 2 * process(1) + DATA + MIB)
    line = "memory: no searches share a process, not 2: 2 searches together need about 670 MiB and a search needs about"
    plan = command(on_disk, "--dry-run")
    done = command(on_disk, "--set", "data.limit=60")
    for told in (plan, done):
        assert told.code == 0, told.err
        assert told.out.count("memory: ") == 1
        assert line in told.out
        assert "trials at a time: sweep 2\n" in told.out
    times = (on_disk.parent / "run").glob("trials/*/times.jsonl")
    assert all('"lanes": 2' not in file.read_text() for file in times)


@pytest.mark.usefixtures("local_sweeps")
def test_what_does_not_fit_ends_before_a_run_is_made(monkeypatch: pytest.MonkeyPatch, on_disk: Path) -> None:
    """With the real count."""
    machine(monkeypatch, memory.PROCESS)
    for further in ([], ["--dry-run"]):
        done = command(on_disk, "--set", "sweep.fuse=4", *further)
        assert done.code == 2
        assert "sweep.fuse: 4 searches together need about" in done.err
        assert "this machine has 500 MiB free, of which 80 % may be used; a search needs about" in done.err
    assert not (on_disk.parent / "run").exists()


@pytest.mark.usefixtures("local_sweeps", "counted")
def test_a_resumed_sweep_looks_again(monkeypatch: pytest.MonkeyPatch, on_disk: Path) -> None:
    machine(monkeypatch, 64 * GIB)
    assert command(on_disk, "--set", "data.limit=60", "--set", "sweep.fuse=4").code == 0
    run = on_disk.parent / "run"
    machine(monkeypatch, 1)
    assert run_here("resume", run).code == 0, "no search is left, so nothing is counted"
    (run / "trials" / "0003" / "result.json").unlink()
    again = run_here("resume", run)
    assert again.code == 2
    assert "sweep.fuse: 4 searches together" in again.err


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("stream", [False, True])
def test_a_folder_of_images_counts_as_data_unless_its_images_stay_in_their_files(tmp_path: Path, stream: bool) -> None:
    for number in range(12):
        file = tmp_path / ("train", "test")[number % 4 == 3] / ("cat", "dog")[number // 4 % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (number, 0, 0)).save(file)
    folder = {"name": "image_folder", "root": str(tmp_path), "size": 24, "stream": stream}
    needed = memory.count(load_spec({**SPEC, "data": {"dataset": folder}}))
    assert needed is not None
    of_all = (8 + (0 if stream else 24 * 24 * 3)) * (9 + 12)  # those that are used, beside all of them
    assert (needed.data, needed.once) == ((of_all, 0) if stream else (0, of_all))
