"""A server on this machine that answers as the Hugging Face hub does, with small networks of timm in safetensors.

`python -m tests.support.weights_hub FOLDER NAME…` makes such files: FOLDER/timm/NAME/{config.json,model.safetensors}.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0" * 40


class WeightsHub:
    """Serves `folder`; `asked` holds the paths of all requests. `base` is for `HF_ENDPOINT`."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, with_body: bool) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                repository, _, rest = self.path.lstrip("/").partition("/resolve/")
                file = folder / repository / rest.partition("/")[2]
                body = file.read_bytes() if rest and file.is_file() else b""
                self.send_response(200 if body else 404)
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serving(self) -> Iterator[WeightsHub]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def make_files(folder: Path, names: list[str]) -> None:
    """Random weights of timm's models, in the files that the hub has of them."""
    import timm
    import torch
    from safetensors.torch import save_file

    for name in names:
        torch.manual_seed(0)
        place = folder / "timm" / name
        place.mkdir(parents=True)
        config = timm.get_pretrained_cfg(name)
        described = {"pretrained_cfg": {"mean": list(config.mean), "std": list(config.std)}}
        (place / "config.json").write_text(json.dumps(described))
        state = timm.create_model(name, pretrained=False).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, place / "model.safetensors")


if __name__ == "__main__":
    make_files(Path(sys.argv[1]), sys.argv[2:])
