"""A stand-in for a W&B server on loopback: the few calls the client makes, and ways in which a server fails."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"  # as long as a real one
ENTITY, PROJECT = "tester", "raydarts"


class StandIn(ThreadingHTTPServer):
    """`trouble`: None, `slow` (answers nothing), `expired` (401), `down` (503); `trouble_later`: once a run is open.

    `runs`: run id -> {config, group, jobType, tags, sweep, history, summary, exit, files}; `bodies`: all it was told.
    """

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is nobody's fault."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.trouble: str | None = None
        self.trouble_later: str | None = None  # begins when a run has been opened
        self.runs: dict[str, dict[str, Any]] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.used: list[tuple[str, str]] = []  # run, artifact
        self.uploads: dict[str, int] = {}
        self.seen: dict[str, int] = defaultdict(int)
        self.bodies: list[str] = []
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def run_named(self, name: str) -> dict[str, Any]:
        empty: dict[str, Any] = {"history": [], "summary": {}, "exit": None, "files": []}
        return self.runs.setdefault(name, empty)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """What W&B would show, in the order of lines."""
        return list(self.runs[name]["history"])


class Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _send(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _troubled(self) -> bool:
        trouble = self.server.trouble
        if trouble == "slow":
            deadline = time.monotonic() + 300
            while self.server.trouble == "slow" and time.monotonic() < deadline:
                time.sleep(0.1)
            self.close_connection = True
            return True
        if trouble in ("expired", "down"):
            self._send({"errors": [{"message": trouble}]}, 401 if trouble == "expired" else 503)
            return True
        return False

    def do_GET(self) -> None:
        if not self._troubled():
            self._send({})

    def do_PUT(self) -> None:
        size = len(self._body())
        if not self._troubled():
            with self.server.lock:
                self.server.uploads[self.path] = size
            self._send({})

    def do_POST(self) -> None:
        body = self._body()
        if self._troubled():
            return
        with self.server.lock:
            if self.path == "/graphql":
                self.server.bodies.append(body.decode())
                self._send(self._graphql(json.loads(body)))
                if self.server.trouble_later and self.server.runs:
                    self.server.trouble = self.server.trouble_later
            elif self.path.endswith("/file_stream"):
                self._stream(self.path.split("/")[-2], json.loads(body))
                self._send({"exitcode": None, "limits": {}})
            else:
                self._send({})

    def _stream(self, name: str, body: dict[str, Any]) -> None:
        run = self.server.run_named(name)
        self.server.bodies.append(json.dumps(body))
        for file, chunk in (body.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                rows = [json.loads(line) for line in chunk["content"]]
                run["history"][chunk["offset"] : chunk["offset"] + len(rows)] = rows
            elif file == "wandb-summary.json":
                run["summary"] = json.loads(chunk["content"][-1])
        if body.get("complete"):
            run["exit"] = body.get("exitcode")

    def _graphql(self, body: dict[str, Any]) -> dict[str, Any]:
        query, given = body["query"], body.get("variables") or {}
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else ""
        self.server.seen[name] += 1
        answer = getattr(self, f"_{name}", None)
        return {"data": answer(given) if answer else {}}

    def _Viewer(self, given: dict[str, Any]) -> Any:
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _ServerFeaturesQuery(self, given: dict[str, Any]) -> Any:
        return {"serverInfo": {"features": []}}

    def _RunResumeStatus(self, given: dict[str, Any]) -> Any:
        run = self.server.runs.get(given["name"])
        project: dict[str, Any] = {"id": "p", "name": given["project"], "entity": {"id": "1", "name": ENTITY}}
        if run is None:
            return {"model": {**project, "bucket": None}}
        last = max((row["_step"] for row in run["history"]), default=-1)
        tail = json.dumps([json.dumps(row) for row in run["history"][-1:]])
        bucket = {
            "name": given["name"],
            "historyLineCount": len(run["history"]),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": tail,
            "eventsTail": "[]",
            "summaryMetrics": json.dumps({**run["summary"], "_step": last}),
            "displayName": run.get("displayName"),
            "sweepName": run.get("sweep"),
            "config": json.dumps(run.get("config") or {}),
            "tags": run.get("tags") or [],
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {**project, "bucket": bucket}}

    def _UpsertBucket(self, given: dict[str, Any]) -> Any:
        name = given.get("name") or given.get("id")
        run = self.server.run_named(name)
        created = "config" not in run
        if given.get("config"):
            run["config"] = json.loads(given["config"])
        for source, target in (
            ("groupName", "group"),
            ("jobType", "jobType"),
            ("tags", "tags"),
            ("sweep", "sweep"),
            ("displayName", "displayName"),
            ("summaryMetrics", "summary_text"),
        ):
            if given.get(source) is not None:
                run[target] = given[source]
        project = {"id": "p", "name": given.get("project") or PROJECT, "entity": {"id": "1", "name": ENTITY}}
        bucket = {
            "id": name,
            "name": name,
            "displayName": run.get("displayName") or name,
            "description": "",
            "config": "{}",
            "sweepName": run.get("sweep"),
            "project": project,
            "historyLineCount": len(run["history"]),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": created}}

    def _CreateRunFiles(self, given: dict[str, Any]) -> Any:
        names = given["files"]
        run = given.get("run") or given.get("runName") or given.get("name")
        self.server.run_named(run)["files"] += names
        files = [{"name": file, "uploadUrl": f"{self.server.url}/put/{run}/{file}"} for file in names]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _ArtifactType(self, given: dict[str, Any]) -> Any:
        return {"project": {"artifact": None}}

    def _XXHashDigestsEnabled(self, given: dict[str, Any]) -> Any:
        return {"entity": {"xxhashDigestsEnabled": False}}

    def _CreateArtifact(self, given: dict[str, Any]) -> Any:
        asked = given["input"]
        name = f"{asked['artifactCollectionName']}:{asked['digest']}"
        known = self.server.artifacts.setdefault(
            name, {"run": asked["runName"], "aliases": [], "committed": False, "type": asked["artifactTypeName"]}
        )
        known["aliases"] += [alias["alias"] for alias in asked.get("aliases") or []]
        state = "COMMITTED" if known["committed"] else "PENDING"
        sequence = {"latestArtifact": {"id": name, "versionIndex": 0} if known["committed"] else None}
        return {"createArtifact": {"artifact": {"id": name, "state": state, "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, given: dict[str, Any]) -> Any:
        file: dict[str, Any] = {"id": "f", "uploadUrl": f"{self.server.url}/put/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def _UpdateArtifactManifest(self, given: dict[str, Any]) -> Any:
        file: dict[str, Any] = {"id": "f", "uploadUrl": f"{self.server.url}/put/manifest", "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def _CreateArtifactFiles(self, given: dict[str, Any]) -> Any:
        edges = []
        for wanted in given["input"]["artifactFiles"]:
            name = f"{wanted['artifactID']}/{wanted['name']}"
            node: dict[str, Any] = {
                "storagePath": name,
                "uploadUrl": f"{self.server.url}/put/artifact/{name}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": wanted["artifactID"]},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, given: dict[str, Any]) -> Any:
        self.server.artifacts[given["artifactID"]]["committed"] = True
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}

    def _ArtifactByID(self, given: dict[str, Any]) -> Any:
        known = self.server.artifacts[given["id"]]
        name, _, digest = given["id"].partition(":")
        project = {"id": "cA==", "internalId": "cA==", "name": PROJECT, "entity": {"name": ENTITY}}
        artifact = {
            "__typename": "Artifact",
            "id": given["id"],
            "artifactSequence": {"__typename": "ArtifactSequence", "name": name, "project": project},
            "versionIndex": 0,
            "artifactType": {"name": known["type"]},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": 1,
            "digest": digest,
            "commitHash": "c",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": None,
            "aliases": [],
        }
        return {"artifact": artifact}

    def _UseArtifact(self, given: dict[str, Any]) -> Any:
        asked = given["input"]
        self.server.used.append((asked["runName"], asked["artifactID"]))
        return {"useArtifact": {"artifact": {"id": asked["artifactID"]}}}

    def _UpsertSweep(self, given: dict[str, Any]) -> Any:
        name = given.get("id") or f"sweep{len(self.server.sweeps)}"
        self.server.sweeps[name] = {**self.server.sweeps.get(name, {}), **given}
        project = {"id": "p", "name": given.get("projectName") or PROJECT, "entity": {"id": "1", "name": ENTITY}}
        return {
            "upsertSweep": {"sweep": {"id": name, "name": name, "project": project}, "configValidationWarnings": []}
        }


@contextlib.contextmanager
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.trouble = None
        server.shutdown()
        server.server_close()
