"""A local Ray listens on loopback alone: nobody on the network reaches it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, psutil
from raydarts.cluster.connection import connect, disconnect
connect()
import ray

@ray.remote
def work():
    return 1

assert ray.get(work.remote()) == 1
me = psutil.Process()
found = []
for process in (me, *me.children(recursive=True)):
    try:
        found += [c.laddr.ip for c in process.net_connections("tcp") if c.status == "LISTEN"]
    except psutil.NoSuchProcess:  # a worker that was not needed has just ended
        pass
disconnect(True)
print(json.dumps(found))
"""


def test_a_local_ray_listens_on_loopback_alone_and_nobody_else_reads_its_token(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    listening = json.loads(done.stdout.splitlines()[-1])
    assert len(listening) >= 3  # GCS, raylet, a worker at least: the check saw them
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
