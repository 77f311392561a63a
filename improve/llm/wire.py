"""The HTTP answers of all providers: bounded in bytes and time, readable as UTF-8, and the last one remembered.

litellm and the clients below it read an answer whole, however long it is and however slowly it drips. One call at a
time: a run asks nobody while it waits for an answer.
"""

from __future__ import annotations

import codecs
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx

MAX_BODY = 16 * 2**20  # bytes of one answer
MAX_BEGUN = 4096
CONNECT_SECONDS = 30.0


class Wire:
    """What the current try may use, and what the server's last answer said (None: there was none)."""

    def __init__(self) -> None:
        self.deadline = float("inf")  # monotonic
        self.status: int | None = None
        self.headers: httpx.Headers = httpx.Headers()
        self.begun = b""  # the first bytes of its body
        self.too_long = False

    def begin(self, seconds: float) -> httpx.Timeout:
        """Forget the last answer; the next must be there whole in so many seconds."""
        self.deadline = time.monotonic() + seconds
        self.status, self.headers, self.begun, self.too_long = None, httpx.Headers(), b"", False
        return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))

    def receive(self, response: httpx.Response) -> None:
        """Take note of an answer's head, and bound its body (not yet read)."""
        self.status, self.headers, self.begun = response.status_code, response.headers, b""
        plain = response.headers.get("content-encoding", "identity") == "identity"
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = _Bounded(response.stream, self, plain)

    def attach(self, litellm: Any) -> None:
        """Put this between litellm and the network."""
        litellm.client_session = httpx.Client(event_hooks={"response": [self.receive]}, follow_redirects=True)
        # Providers that do not go through OpenAI's client. A transport of our own would hide the proxies that the
        # environment names: where there are any, those providers keep litellm's own.
        if not urllib.request.getproxies():
            litellm.sync_transport = _Transport(self)


class _Transport(httpx.BaseTransport):
    def __init__(self, wire: Wire) -> None:
        self._wire, self._inner = wire, httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        self._wire.receive(response)
        return response

    def close(self) -> None:
        """Shared by all of litellm's clients: it ends with the process."""


class _Bounded(httpx.SyncByteStream):
    """A body that ends at `MAX_BODY` bytes or at the deadline; what is no UTF-8 is replaced unless compressed."""

    def __init__(self, stream: httpx.SyncByteStream, wire: Wire, plain: bool) -> None:
        self._stream, self._wire, self._plain = stream, wire, plain

    def __iter__(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        received = 0
        for chunk in self._stream:
            received += len(chunk)
            self._wire.begun += chunk[: max(0, MAX_BEGUN - len(self._wire.begun))]
            if received > MAX_BODY:
                self._wire.too_long = True
                raise httpx.ReadError(f"the answer is longer than {MAX_BODY} bytes")
            if time.monotonic() > self._wire.deadline:
                raise httpx.ReadTimeout("The read operation timed out")
            yield decoder.decode(chunk).encode() if self._plain else chunk
        if self._plain:
            yield decoder.decode(b"", final=True).encode()

    def close(self) -> None:
        self._stream.close()
