"""What Ray's logs tell of a start that failed."""

from __future__ import annotations

from pathlib import Path

from raydarts.cluster import ray_logs


def test_the_reason_is_told_and_stacks_of_c_are_not(tmp_path: Path) -> None:
    """Seen with a read-only /dev/shm: the stack filled the lines, and the reason was cut off."""
    frames = [
        f"/opt/ray/raylet(+0x{number:x}) [0x5568bec3aa49] plasma::create_and_mmap_buffer()" for number in range(30)
    ]
    reason = (
        "[2026-11-27 08:41:00,000 C 12 34] (raylet) dlmalloc.cc:129:  Check failed: File creation failed: Read-only"
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "raylet.out").write_text(
        "\n".join(["[2026-11-27 08:40:59,000 I 12 34] (raylet) main.cc:1: starts", reason])
    )
    (tmp_path / "logs" / "raylet.err").write_text(
        "\n".join(
            [
                reason,
                "*** SIGABRT received at time=1 on cpu 0 ***",
                *frames,
                "[2026-11-27 08:44:05,504 E 12 34] (raylet) logging.cc:474:     @  0x7fa4 f()",
                "    @     0x7f316945a050   208  f()",
            ]
        )
    )
    told = ray_logs.of_start(tmp_path)
    assert len(told) <= 3
    assert all("Check failed: File creation failed: Read-only" in line for line in told)
    assert ray_logs.of_start(tmp_path / "missing") == []
