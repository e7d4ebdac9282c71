"""`python -m tests.fault.blind_node FOLDER`: a sweep on a cluster of two nodes, of which one does not see FOLDER.

The second node's raylet runs in a mount namespace of its own, in which another (empty) file system lies on FOLDER: what
a machine without the network file system sees. Needs root on Linux.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from raydarts.cluster.gate import set_environment
from raydarts.errors import InputError
from raydarts.sweep.runner import start_sweep
from tests.fault import fakes


def main() -> None:
    folder = Path(sys.argv[1])
    set_environment()
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    start = f"{sys.executable} -m ray.scripts.scripts start --address={cluster.address} --num-cpus=1 --block"
    blind = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {folder} && exec {start}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        deadline = time.monotonic() + 90
        while len([node for node in ray.nodes() if node["Alive"]]) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
        if blind.poll() is not None or len(ray.nodes()) < 2:
            sys.exit("the second node did not come")
        start_sweep(fakes.loaded(), folder / "runs", builder=fakes.BUILDER, address=cluster.address, display=False)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    finally:
        ray.shutdown()
        os.killpg(blind.pid, signal.SIGKILL)
        blind.wait()
        cluster.shutdown()


if __name__ == "__main__":
    main()
