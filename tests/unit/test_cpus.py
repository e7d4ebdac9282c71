"""Only the CPUs count that this process may use: its affinity, and the quotas of its control groups."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from typer.testing import CliRunner

from raydarts.cli import app
from raydarts.cluster.connection import capacity
from raydarts.cpus import Cpus, cgroup_quota, cpus

ROOT = Path(__file__).parent.parent.parent
V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:30 {start} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
MEMORY = "34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A file system with /proc/self/cgroup, /proc/self/mountinfo and what lies below /sys/fs/cgroup."""
    proc = root / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text(f"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n{mounts}\n")
    for name, text in files.items():
        file = root / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


def v1(quota: int, period: int = 100000, folder: str = "cpu,cpuacct") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        # version 2: a container that sees its own group at the top
        ("0::/", V2, {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", V2, {"cpu.max": "50000 100000"}, 0.5),
        ("0::/", V2, {"cpu.max": "max 100000"}, None),
        ("0::/", V2, {"cgroup.procs": "1"}, None),  # the root group has no quota
        # version 2: nested, and the least of all parents counts, wherever it stands
        ("0::/a/b", V2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2),
        ("0::/a/b", V2, {"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b", V2, {"a/b/cpu.max": "100000 50000", "a/cpu.max": "300000 100000"}, 2),
        ("0::/a/b", V2, {"other/cpu.max": "100000 100000"}, None),  # no parent of ours
        # the path of the host, while the group itself is what is mounted
        ("0::/docker/0123", V2.replace(" / /sys", " /docker/0123 /sys"), {"cpu.max": "200000 100000"}, 2),
        ("0::/docker/0123/job", V2.replace(" / /sys", " /docker/0123 /sys"), {"job/cpu.max": "100000 100000"}, 1),
        ("0::/docker/0123", V2, {"cpu.max": "200000 100000"}, 2),
        ("0::/../elsewhere", V2, {"cpu.max": "200000 100000"}, 2),
        # version 1, with and without a quota, nested too
        ("4:cpu,cpuacct:/\n3:memory:/x", f"{MEMORY}\n{V1.format(start='/')}", v1(150000), 1.5),
        ("4:cpu,cpuacct:/", V1.format(start="/"), v1(-1), None),
        ("4:cpu,cpuacct:/job/step", V1.format(start="/"), v1(-1, folder="cpu,cpuacct/job/step"), None),
        (
            "4:cpu,cpuacct:/job/step",
            V1.format(start="/"),
            v1(-1, folder="cpu,cpuacct/job/step") | v1(300000, folder="cpu,cpuacct/job"),
            3,
        ),
        ("4:cpuacct,cpu:/docker/0123", V1.format(start="/docker/0123"), v1(50000, 25000), 2),
        ("4:cpuset:/\n5:memory:/", MEMORY, v1(100000), None),  # nobody says where CPUs are
        # both at once: version 2 without CPUs beside version 1
        (
            "4:cpu,cpuacct:/\n0::/x",
            f"{V1.format(start='/')}\n{V2.replace('/sys/fs/cgroup', '/sys/fs/cgroup/unified')}",
            v1(200000),
            2,
        ),
        # what cannot be read says nothing
        ("0::/", V2, {"cpu.max": "many 100000"}, None),
        ("0::/", V2, {"cpu.max": ""}, None),
        ("0::/", V2, {"cpu.max": "100000 0"}, None),
        ("nonsense", "nonsense", {}, None),
        # a folder with a blank in its name
        ("0::/my job", V2, {"my job/cpu.max": "100000 100000"}, 1),
        (
            "0::/",
            V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/my\\040groups"),
            {"my groups/cpu.max": "100000 100000"},
            1,
        ),
    ],
)
def test_the_quota_of_every_group_and_its_parents_is_read(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], expected: float | None
) -> None:
    assert cgroup_quota(tree(tmp_path, groups, mounts, files)) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("bound", "quota", "usable"),
    [
        (8, "max", 8),
        (3, "max", 3),
        (8, "150000", 1),
        (8, "50000", 1),
        (8, "250000", 2),
        (2, "350000", 2),
        (4, "100000", 1),
    ],
)
def test_a_part_of_a_cpu_is_not_counted_and_the_least_limit_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int, quota: str, usable: int
) -> None:
    root = tree(tmp_path, "0::/", V2, {"cpu.max": f"{quota} 100000"})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: list(range(bound)), raising=False)
    found = cpus(root)
    assert (found.there, found.usable) == (8, usable)
    if usable == 8:
        assert str(found) == "8 CPUs"
    elif bound == usable:
        assert str(found) == f"{usable} of 8 CPUs (by this process's CPU affinity)"
    else:
        assert str(found) == f"{usable} of 8 CPUs (by its control group's quota of {int(quota) / 100000:g})"


def test_cpus_of_the_machine_count_without_cpu_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)  # as on macOS
    assert cpus(tmp_path) == Cpus(8, 8)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus(tmp_path) == Cpus(1, 1)


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """This process bound to one CPU, as `taskset -c 0` does."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        pytest.skip("needs Linux and two CPUs")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def invoke(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def test_the_plan_says_how_many_cpus_are_used_and_how_many_trials_run(one_cpu: None) -> None:
    quick = str(ROOT / "sweeps" / "quick.yaml")
    text = f"1 of {os.cpu_count()} CPUs (by this process's CPU affinity)"
    for printed in (invoke("validate", quick), invoke("sweep", quick, "--dry-run")):
        line = " ".join(printed[printed.index("this machine:") :].split())
        assert line.startswith(f"this machine: {text}")
        assert "sweep 8 (up to 8 in a process), evaluate 1" in line
    (planned,) = json.loads(invoke("validate", quick, "--json"))
    assert planned["here"]["cpus"] == 1
    assert planned["here"]["at_a_time"] == {"sweep": 8, "evaluate": 1}
    assert capacity()["cpus"] == 1
    larger = " ".join(invoke("validate", quick, "--set", "sweep.resources.cpus=2").split())
    assert "sweep none, as one does not fit" in larger


def test_too_much_is_refused_with_the_reason(one_cpu: None, tmp_path: Path) -> None:
    command = ["sweep", str(ROOT / "sweeps" / "quick.yaml"), "--set", "sweep.resources.cpus=2"]
    done = CliRunner().invoke(app, [*command, "--storage", str(tmp_path / "runs")])
    assert done.exit_code != 0
    assert f"has 1 for this process: 1 of {os.cpu_count()} CPUs (by this process's CPU affinity)" in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_a_single_search_trains_on_no_more_threads_than_there_are_cpus(one_cpu: None, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        spec = tmp_path / "spec.yaml"
        spec.write_text(
            "data: {dataset: digits, limit: 64, validation_fraction: 0.25}\n"
            "search: {epochs: 1, batch_size: 16, space: {name: darts-cnn, channels: 2, layers: 3, nodes: 1}}\n"
            "sweep: {resources: {cpus: 6}}\n"
        )
        printed = invoke("search", str(spec), "--storage", str(tmp_path), "--name", "run")
        assert "sweep.resources.cpus is 6, but this process may use 1 of" in " ".join(printed.split())
        assert torch.get_num_threads() == 1
        assert json.loads((tmp_path / "run" / "run.json").read_text())["spec"]["threads"] == 1
    finally:
        torch.set_num_threads(threads)
