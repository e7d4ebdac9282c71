"""How much memory is free: the machine's, or what the control groups leave of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.free_memory import free_memory
from tests.unit.test_cpus import MEMORY, V2, tree

GIB = 2**30


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        ("0::/", V2, {"memory.max": str(4 * GIB), "memory.current": str(GIB)}, 3 * GIB),
        ("0::/", V2, {"memory.max": "max", "memory.current": str(GIB)}, 8 * GIB),
        ("0::/", V2, {"memory.max": str(64 * GIB), "memory.current": str(GIB)}, 8 * GIB),  # more than the machine has
        # the least of all parents counts
        (
            "0::/a/b",
            V2,
            {"a/b/memory.max": "max", "a/memory.max": str(2 * GIB), "a/memory.current": str(GIB // 2)},
            3 * GIB // 2,
        ),
        # files that the system lets go of are free
        (
            "0::/",
            V2,
            {
                "memory.max": str(4 * GIB),
                "memory.current": str(3 * GIB),
                "memory.stat": f"anon {GIB}\ninactive_file {GIB}",
            },
            2 * GIB,
        ),
        # the older version
        (
            "4:memory:/job",
            MEMORY,
            {"memory/job/memory.limit_in_bytes": str(2 * GIB), "memory/job/memory.usage_in_bytes": str(GIB)},
            GIB,
        ),
        ("0::/", V2, {"memory.max": str(GIB), "memory.current": str(2 * GIB)}, 0),
        ("0::/", V2, {"memory.max": "much", "memory.current": "little"}, 8 * GIB),
    ],
)
def test_free_memory(tmp_path: Path, groups: str, mounts: str, files: dict[str, str], expected: int) -> None:
    free = free_memory(tree(tmp_path, groups, mounts, files), lambda: 8 * GIB)
    assert free.bytes == expected
    assert free.of == ("this machine" if expected == 8 * GIB else "this process's control group")


def test_this_machine_has_some() -> None:
    assert free_memory().bytes > 0
