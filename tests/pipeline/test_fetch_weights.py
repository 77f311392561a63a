"""Weights from the hub: a real client, a real socket, a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAME = "test_resnet.r160_in1k"
FILES = {
    "config.json": json.dumps({"pretrained_cfg": {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]}}).encode(),
    "model.safetensors": b"weights" * 100,
}
PROGRAM = f"""
from improve.config.schema import ExecutorConfig
from improve.pipeline.fetch_weights import fetch_weights
from improve.pipeline.weights import find_weights
from improve.errors import ConfigError
fetch_weights(ExecutorConfig(fetch_weights=["{NAME.split(".")[0]}"]), print)
found = {{weights.name: weights for weights in find_weights()}}
print(found["{NAME}"].mean, found["{NAME}"].file.read_bytes()[:7])
for name in ("test_vit", "resnet1O1"):
    try:
        fetch_weights(ExecutorConfig(fetch_weights=[name]), lambda line: None)
    except ConfigError as error:
        print(error)
"""

pytestmark = pytest.mark.slow


class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        body = FILES.get(self.path.rsplit("/", 1)[-1]) if self.path.startswith(f"/timm/{NAME}/resolve/") else None
        self.send_response(200 if body is not None else 404)
        self.send_header("ETag", f'"{hashlib.sha256(body or b"").hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if with_body and body is not None:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_weights_are_fetched_once_and_mistakes_are_named(hub: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path / "torch")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "fetching the pretrained weights of test_resnet (once)"
    assert lines[1] == "(0.4, 0.4, 0.4) b'weights'"
    assert "config.json of timm/test_vit" in done.stdout
    assert "cannot be fetched from the Hugging Face hub:" in done.stdout
    assert "404" in done.stdout
    assert "executor.fetch_weights=resnet1O1 is no model of timm" in done.stdout
    assert "resnet101" in done.stdout
