"""A W&B server as far as uploads and reports need one: it keeps what it is sent and says that all is well."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Wandb:
    """`sent` is every request's body; `rows` are the lines of the run's history, by their offset."""

    url: str = ""
    answers: bool = True  # False: GraphQL requests wait for ever, as at a server that hangs
    sent: list[bytes] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)  # reports
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def graphql(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        if name == "UpsertBucket":
            self.runs.append(values)
            project = {"id": "P", "name": values["project"], "entity": {"id": "E", "name": "us"}}
            bucket = {"id": "B", "name": values["name"], "displayName": values["displayName"], "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if name == "CreateRunFiles":
            return {
                "createRunFiles": {"runID": "B", "uploadHeaders": [], "files": [self._file(f) for f in values["files"]]}
            }
        if name == "CreateArtifact":
            return {"createArtifact": {"artifact": {"id": "A", "state": "PENDING", "artifactSequence": {}}}}
        if name == "CreateArtifactManifest":
            return {"createArtifactManifest": {"artifactManifest": {"id": "M", "file": self._file("manifest")}}}
        if name == "CreateArtifactFiles":
            edges = [{"node": self._file(f["name"])} for f in values["input"]["artifactFiles"]]
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if name == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": "A", "digest": "x"}}}
        if name == "upsertView":
            self.views.append(values)
            project = {"id": "P", "name": values["projectName"], "entityName": values["entityName"]}
            shown = {key: values[key] for key in ("name", "displayName", "description", "spec")}
            return {"upsertView": {"view": {"id": "V", **shown, "project": project}, "inserted": True}}
        return {
            "serverInfo": {"features": []},
            "viewer": {"id": "U", "entity": "us", "username": "us", "flags": "{}", "teams": {"edges": []}},
            "project": {"id": "P", "internalId": "P"},
            "models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}},
        }

    def _file(self, name: str) -> dict[str, Any]:
        address = {"uploadUrl": f"{self.url}/upload/{name}", "uploadHeaders": [], "artifact": {"id": "A"}}
        return {"id": name, "name": name, "displayName": name, "storagePath": "x", **address}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wandb: Wandb

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.wandb.sent.append(body)
        data: dict[str, Any] = {}
        if self.path == "/graphql":
            if not self.wandb.answers:
                self.wandb.over.wait(60)
            asked = json.loads(body)
            found = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            data = {"data": self.wandb.graphql(found[1] if found else "", asked.get("variables") or {})}
        elif self.path.endswith("/file_stream"):
            history = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
            for offset, line in enumerate(history.get("content", []), history.get("offset", 0)):
                self.wandb.rows[offset] = json.loads(line)
        elif self.path.startswith("/upload/"):
            self.wandb.files.add(self.path.removeprefix("/upload/"))
        answer = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def log_message(self, format: str, *arguments: object) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up in the midst of things: that is what some tests are about."""


@contextmanager
def serving(*, answers: bool = True) -> Iterator[Wandb]:
    wandb = Wandb(answers=answers)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"wandb": wandb}))
    wandb.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield wandb
    finally:
        wandb.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
