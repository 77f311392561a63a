"""An OpenAI-compatible server on loopback whose replies come from a Python function: real sockets, no model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str, str], str]


class ScriptedServer:
    """`base` is the URL for `llm.api_base`; `requests` holds what was asked, `(system, user)` each."""

    def __init__(self, reply: Reply) -> None:
        self.requests: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                system, user = (message["content"] for message in body["messages"])
                outer.requests.append((system, user))
                self._send(outer.answer(reply(system, user), body["model"]))

            def _send(self, values: dict[str, Any]) -> None:
                data = json.dumps(values).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @staticmethod
    def answer(text: str, model: str) -> dict[str, Any]:
        return {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def scripted_llm(reply: Reply) -> Iterator[ScriptedServer]:
    server = ScriptedServer(reply)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def role_of(system: str) -> str:
    """The role that a system prompt addresses, for instance "Project Architect"."""
    return system.split("You are the ", 1)[1].split(" of IMPROVE", 1)[0]
