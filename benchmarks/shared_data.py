"""What one copy of the data on a node saves each trial's process: seconds of loading, and memory.

    python benchmarks/shared_data.py cifar10_jpeg.npz

Three processes of a local Ray build the batches of a search on the CPU: the first loads the data itself, the second
takes them out of the object store, and the third has none and shows what a process has anyway.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="An npz data set.")
    file = str(parser.parse_args().file.absolute())
    from raydarts.cluster.connection import connected  # noqa: PLC0415
    from raydarts.cluster.warm_workers import WarmWorkers  # noqa: PLC0415
    from raydarts.data.shared import shareable, size_of_shared  # noqa: PLC0415

    with connected(None, WarmWorkers(), Path.cwd()):
        import ray  # noqa: PLC0415

        start = time.perf_counter()
        shared = shareable(_splits(file))
        assert shared is not None
        loaded = time.perf_counter()
        reference = ray.put(shared)
        put = time.perf_counter() - loaded
        print(f"driver: loaded in {loaded - start:.2f} s, put into the object store in {put:.2f} s")
        print(f"object store: {size_of_shared(shared) / MIB:.0f} MiB, once on a node")
        ask = ray.remote(num_cpus=1, max_calls=1)(_measured)
        for name, given in (("loads them itself", []), ("takes them", [reference]), ("has none", None)):
            seconds, private, peak = ray.get(ask.remote(file, given))
            print(f"a process that {name}: {seconds:.2f} s, {private:.0f} MiB of its own now, {peak:.0f} MiB at most")


def _settings(file: str) -> Any:
    from raydarts.data.settings import DataSettings  # noqa: PLC0415

    return DataSettings.model_validate({"dataset": {"name": "npz", "file": file}})


def _splits(file: str) -> Any:
    from raydarts.data.splits import load_splits  # noqa: PLC0415

    return load_splits(_settings(file))


def _measured(file: str, given: list[object] | None) -> tuple[float, float, float]:
    """Seconds until the batches of a search are there, and MiB of the process's own: now, and the peak."""
    import re  # noqa: PLC0415

    import psutil  # noqa: PLC0415
    import ray  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from raydarts.data.parts import batches  # noqa: PLC0415
    from raydarts.data.shared import take  # noqa: PLC0415

    settings = _settings(file)
    before = psutil.Process().memory_full_info()
    start = time.perf_counter()
    kept = []
    if given is not None:
        if given:
            take(settings, ray.get(given[0]))
        splits = _splits(file)
        kept = [batches(splits, part, "cpu", torch.float32, None) for part in ("weight", "alpha", "validation")]
    seconds = time.perf_counter() - start
    status = Path(f"/proc/{os.getpid()}/status").read_text(encoding="utf-8")
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
    own = psutil.Process().memory_full_info().uss / MIB
    assert len(kept) in (0, 3)
    return seconds, own, peak - (before.rss - before.uss) / MIB


if __name__ == "__main__":
    main()
