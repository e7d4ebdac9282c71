"""A stand-in for W&B on loopback that speaks the few calls of `Report.save`, and refuses where it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789" * 4


class Server(ThreadingHTTPServer):
    """`status`: what every call is answered with; `denied`: GraphQL's error to upsertView. `saved`: what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.denied = ""
        self.entity: str | None = "ada"
        self.projects = ["raydarts"]
        self.saved: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data, or the errors, of one GraphQL call."""
        project = {"id": "UHJvamVjdA==", "internalId": "7", "name": "raydarts", "entityName": self.entity or ""}
        if "upsertView" in query:
            if self.denied:
                return {"errors": [{"message": self.denied}], "data": {"upsertView": None}}
            self.saved.append(variables)
            named = {key: variables[key] for key in ("name", "displayName", "description", "spec")}
            view = {"id": "VmlldzoxMjM=", "type": "runs", "project": project, "updatedAt": None, **named}
            return {"data": {"upsertView": {"view": view, "inserted": True}}}
        if "upsertModel" in query or "CreateProject" in query:
            self.projects.append(variables["input"]["name"])
            return {"data": {"upsertModel": {"model": project, "project": project, "inserted": True}}}
        if "models" in query or "Projects" in query:
            nodes = [
                {
                    "id": "UA==",
                    "name": name,
                    "entityName": self.entity,
                    "createdAt": "2026-01-01T00:00:00",
                    "isBenchmark": False,
                    "user": None,
                }
                for name in self.projects
            ]
            edges = [{"node": node, "cursor": "x"} for node in nodes]
            found = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}, "totalCount": len(edges)}
            return {"data": {"models": found, "projects": found}}
        viewer = {"id": "VQ==", "entity": self.entity, "username": "ada", "name": "Ada", "email": "", "admin": False}
        viewer |= {"flags": "{}", "teams": {"edges": []}}
        return {"data": {"viewer": viewer, "serverInfo": {"features": []}}}


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._send(200, {})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.startswith("/graphql"):
            self._send(200, {})
        elif self.server.status != 200:
            self._send(self.server.status, {"errors": [{"message": "refused"}]})
        else:
            asked = json.loads(sent)
            self._send(200, self.server.answer(asked["query"], asked.get("variables") or {}))

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print enough."""


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
