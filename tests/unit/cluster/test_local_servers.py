"""What of Ray a local one does not start. Without a Ray that runs."""

from __future__ import annotations

from types import SimpleNamespace

from raydarts.cluster import gate, local


def test_ray_still_names_the_servers_that_a_local_one_leaves_out_and_gets_them_back() -> None:
    gate.prepare(None)
    from ray._private.node import Node

    before = [getattr(Node, name) for name in local._UNUSED_SERVERS]
    node = SimpleNamespace()
    with local._without_unused_servers():
        Node.start_monitor(node)  # type: ignore[arg-type]
        Node.start_log_monitor(node)  # type: ignore[arg-type]
        Node.start_api_server(node, include_dashboard=False, raise_on_failure=False)  # type: ignore[arg-type]
    assert [getattr(Node, name) for name in local._UNUSED_SERVERS] == before
