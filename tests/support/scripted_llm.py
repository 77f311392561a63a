"""An OpenAI-compatible server on loopback that plays a script: real sockets, no model.

A script is a function of the request; it gives the text of a reply, or an `Answer` for anything else that a server
can do. `scripted_llm` takes a function of the system and user text; `played` takes a list, one answer a request.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a server does with a request. `reset`: cut the connection; `stall`: seconds between head and body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    stall: float = 0.0
    drip: float = 0.0  # seconds between the body's bytes
    endless: bool = False  # the body is sent again and again


@dataclass(frozen=True)
class Asked:
    """A request: when (monotonic seconds), its headers and its JSON."""

    at: float
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> tuple[str, str]:
        system, user = (message["content"] for message in self.body["messages"])
        return system, user


Script = Callable[[Asked], "str | Answer"]
Reply = Callable[[str, str], str]


class ScriptedServer:
    """`base` is the URL for `llm.api_base`; `asked` holds all requests, `requests` their `(system, user)`."""

    def __init__(self, script: Script) -> None:
        self.asked: list[Asked] = []
        self.sent = 0  # bytes of bodies
        self._stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = Asked(time.monotonic(), dict(self.headers.items()), body)
                outer.asked.append(asked)
                answer = script(asked)
                if isinstance(answer, str):
                    answer = completion(answer, body["model"])
                try:
                    outer.play(self, answer)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client has seen enough

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def requests(self) -> list[tuple[str, str]]:
        return [asked.prompt for asked in self.asked]

    def play(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.reset:
            # With a linger of 0 closing is a reset. The server itself would say farewell before.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(handler.connection.detach())
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        headers = {"Content-Type": "application/json", **answer.headers}
        if not answer.endless:
            headers["Content-Length"] = str(len(answer.body))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        self._stopping.wait(answer.stall)
        pieces = [answer.body[i : i + 1] for i in range(len(answer.body))] if answer.drip else [answer.body]
        while not self._stopping.is_set():
            for piece in pieces:
                handler.wfile.write(piece)
                self.sent += len(piece)
                if answer.drip and self._stopping.wait(answer.drip):
                    break
            if not answer.endless:
                break
        handler.close_connection = handler.close_connection or answer.endless

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def completion(text: str | None, model: str = "scripted", **changes: Any) -> Answer:
    """A reply as OpenAI sends it. `changes` go into the choice (`finish_reason`), or replace `usage`, `choices`."""
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    values = {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{**choice, **{key: value for key, value in changes.items() if key in choice}}],
        "usage": usage,
        **{key: value for key, value in changes.items() if key not in choice},
    }
    return Answer(json.dumps(values).encode())


def error(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as OpenAI sends it; `_` in header names stands for `-`."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Answer(json.dumps(body).encode(), status, {name.replace("_", "-"): value for name, value in headers.items()})


def claude(text: str, **changes: Any) -> Answer:
    """A reply as Anthropic sends it."""
    usage = {"input_tokens": 100, "output_tokens": 50}
    content = [{"type": "text", "text": text}]
    values = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": content}
    return Answer(json.dumps({**values, "stop_reason": "end_turn", "usage": usage, **changes}).encode())


def claude_error(status: int, kind: str, message: str) -> Answer:
    """An error as Anthropic sends it."""
    return Answer(json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode(), status)


@contextmanager
def serving(script: Script) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def scripted_llm(reply: Reply) -> Iterator[ScriptedServer]:
    """A model that answers each prompt with `reply(system, user)`."""
    with serving(lambda asked: reply(*asked.prompt)) as server:
        yield server


@contextmanager
def played(*answers: str | Answer) -> Iterator[ScriptedServer]:
    """One answer after the other; the last one for all further requests."""
    rest: Sequence[str | Answer] = answers
    with serving(lambda asked: rest[min(len(server.asked), len(rest)) - 1]) as server:
        yield server


def role_of(system: str) -> str:
    """The role that a system prompt addresses, for instance "Project Architect"."""
    return system.split("You are the ", 1)[1].split(" of IMPROVE", 1)[0]
