"""The HTTP answers of all providers: bounded in bytes and time, readable as UTF-8, and the last one remembered.

litellm and the clients below it read an answer whole, however long it is and however slowly it drips, and know one form
of it. One call at a time: a run asks nobody while it waits for an answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx

from improve.llm.envelope import Fault, fault_of, opened, parsed

MAX_BODY = 16 * 2**20  # bytes of one answer
MAX_BEGUN = 2**16
CONNECT_SECONDS = 30.0
# A server on this machine is never asked through a proxy, whatever the environment says.
HERE = ("all://localhost", "all://127.0.0.1", "all://[::1]")


class Wire:
    """What the current try may use, and what the server's last answer said (None: there was none)."""

    def __init__(self) -> None:
        self.deadline = float("inf")  # monotonic
        self.host: str | None = None  # the only one that may be asked; None: the provider's own
        self.openai = False  # whether OpenAI's form is expected
        self._forget()

    def _forget(self) -> None:
        self.status: int | None = None
        self.headers: httpx.Headers = httpx.Headers()
        self.begun = b""  # the first bytes of its body
        self.whole = False  # whether all of the body came
        self.fault: Fault | None = None  # the error that it tells of, in the server's words
        self.too_long = False
        self.elsewhere = ""  # the host that a request would have gone to, and was not let

    def begin(self, seconds: float, host: str | None = None, openai: bool = False) -> httpx.Timeout:
        """Forget the last answer; the next must be there whole in so many seconds, and come from this host."""
        self._forget()
        self.deadline, self.host, self.openai = time.monotonic() + seconds, host, openai
        return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))

    @property
    def unread(self) -> bool:
        """Whether a reply was begun and could not be read to its end: nobody says so, but it is paid."""
        begun = self.begun.lstrip()
        return self.status == 200 and not self.whole and (not begun or begun[:1] in (b"{", b"["))

    @property
    def page(self) -> bool:
        """Whether the answer was a text for people: a web page under the address of an API."""
        return self.status == 200 and self.fault is None and bool(self.begun.strip()) and not self.unread

    def leave(self, request: httpx.Request) -> None:
        """Let no request go anywhere but to the host that was named, by a redirect neither: it holds a prompt."""
        if self.host is not None and request.url.host != self.host:
            self.elsewhere = request.url.host
            raise httpx.ConnectError(f"{request.url.host} is not the server that was named")
        # So that the bytes that are counted are those that are read.
        request.headers["accept-encoding"] = "identity"

    def receive(self, response: httpx.Response) -> None:
        """Read an answer, take note of it, and put OpenAI's form of it in its place."""
        self.status, self.headers, self.begun = response.status_code, response.headers, b""
        assert isinstance(response.stream, httpx.SyncByteStream)
        raw = b"".join(self._chunks(response.stream))
        response.stream.close()
        content = httpx.Response(200, headers=response.headers, content=raw).content  # decompressed, if need be
        content = self._looked_into(content)
        if self.fault is not None:
            response.status_code = self.status = self.fault.status
        for name in ("content-encoding", "content-length", "transfer-encoding"):
            response.headers.pop(name, None)
        response.stream = httpx.ByteStream(content.decode("utf-8", "replace").encode())

    def _looked_into(self, content: bytes) -> bytes:
        """Take note of a body; gives it in OpenAI's form, if that is expected and can be had."""
        self.begun = content[:MAX_BEGUN]
        if self.status == 200 and self.openai:
            reply = opened(content)
            self.whole = reply is not None
            self.fault = reply if isinstance(reply, Fault) else None
            return json.dumps(reply).encode() if isinstance(reply, dict) else content
        values = parsed(content)
        self.whole = values is not None
        self.fault = fault_of(values, self.status or 200) if isinstance(values, dict) else None
        return content

    def _chunks(self, stream: httpx.SyncByteStream) -> Iterator[bytes]:
        """A body as it comes, until `MAX_BODY` bytes or the deadline."""
        received = 0
        for chunk in stream:
            received += len(chunk)
            self.begun += chunk[: max(0, MAX_BEGUN - len(self.begun))]
            if received > MAX_BODY:
                self.too_long = True
                raise httpx.ReadError(f"the answer is longer than {MAX_BODY} bytes")
            if time.monotonic() > self.deadline:
                raise httpx.ReadTimeout("The read operation timed out")
            yield chunk

    def attach(self, litellm: Any) -> None:
        """Put this between litellm and the network."""
        hooks: dict[str, list[Any]] = {"request": [self.leave], "response": [self.receive]}
        litellm.client_session = httpx.Client(event_hooks=hooks, follow_redirects=True, mounts=_here())
        # Providers that do not go through OpenAI's client.
        litellm.sync_transport = _Transport(self)


def _here() -> dict[str, httpx.BaseTransport | None]:
    return dict.fromkeys(HERE)


class _Transport(httpx.BaseTransport):
    def __init__(self, wire: Wire) -> None:
        # A client, not a plain transport: it knows the proxies of the environment.
        self._wire, self._inner = wire, httpx.Client(mounts=_here())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._wire.leave(request)
        response = self._inner.send(request, stream=True, follow_redirects=False)
        self._wire.receive(response)
        return response

    def close(self) -> None:
        """Shared by all of litellm's clients: it ends with the process."""
