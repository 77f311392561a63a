"""A network that the sandboxes of one training on several nodes have for themselves, and nobody else is in.

Each sandbox has a device whose packets only its station reads and writes. Stations carry them to each other, each over
a connection to every other one: a packet goes on if it comes from the sandbox that it says, and is for another of them.
Nothing is routed to the machines themselves. Who connects shows that they know the key that the run has given them.
What is carried is not encrypted.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any, Final

from improve.errors import SandboxError
from improve.sandbox.guard.tun import DEVICE, NAME

PORT: Final = 29400  # on which the first process of a training awaits the others, in the first sandbox
MOST_NODES: Final = 64
LARGEST: Final = 1 << 16  # bytes of a packet
GREETING_SECONDS: Final = 10.0
BETWEEN_TRIES: Final = 0.2  # seconds
_HEADER: Final = 20  # bytes of IPv4's, at least; 12 to 16 say from where, 16 to 20 to where
_END: Final = b""  # instead of a packet: a sandbox has ended, and its station closes soon


def address(node: int) -> str:
    """The address in the network of the sandbox on a node, from 0."""
    return f"10.0.0.{node + 1}"


def require_device() -> None:
    """Raises `SandboxError` where no sandbox can be given a network device."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        raise SandboxError(
            f"executor.num_nodes above 1 needs {DEVICE}, by which sandboxes get a network of their own, and it cannot "
            f"be opened: {error.strerror}.",
            f"modprobe tun && chmod 0666 {DEVICE} (for a container: --device {DEVICE})",
        ) from error


class Unreachable(Exception):
    """A node of the training is not there, or not for us."""


@dataclass(frozen=True)
class Together:
    """Stations that carry out a job together: where each awaits the others, what shows that they are these, and the
    number of the one that is told."""

    places: tuple[tuple[str, int], ...]
    key: str  # hexadecimal
    node: int = 0

    def command(self) -> dict[str, Any]:
        """As `template/ranks.py` takes it."""
        return {"number": self.node, "first": f"{address(0)}:{PORT}", "interface": NAME}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Together:
        return cls(**{**record, "places": tuple((host, port) for host, port in record["places"])})


class Peers:
    """One sandbox's end of the network."""

    def __init__(self, host: str) -> None:
        """Listen at an address of this machine, on any port."""
        self._server = socket.create_server((host, 0))
        self._lost: Callable[[], None] = lambda: None
        self._connections: dict[bytes, tuple[Connection, threading.Lock]] = {}  # by the address behind it
        self._threads: list[threading.Thread] = []
        self._wake, self._woken = os.pipe()
        self._device = -1
        self._own = b""
        self._left: set[bytes] = set()  # those that have said that they end
        self._changed = threading.Condition()
        self.trouble = ""  # how another one went without a word

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def join(self, together: Together, packets: int, lost: Callable[[], None], deadline: float) -> None:
        """Meet the others until `deadline` (monotonic); then carry packets between them and a sandbox's device.

        `lost` is called, from another thread, when one goes without a word. Raises `Unreachable`.
        """
        node, places, key = together.node, together.places, bytes.fromhex(together.key)
        for other in range(node):
            connection = _reach(places[other], key, deadline)
            connection.send_bytes(bytes([node]))
            self._know(other, connection)
        while len(self._connections) < len(places) - 1:
            connection, other = self._accept(key, deadline)
            if node < other < len(places) and _inside(other) not in self._connections:
                self._know(other, connection)
            else:
                connection.close()
        self._lost, self._device, self._own = lost, os.dup(packets), _inside(node)
        os.set_blocking(self._device, False)
        self._begin(self._send_all)
        for source in self._connections:
            self._begin(self._receive_all, source)

    def leave(self, seconds: float) -> None:
        """Say that our sandbox has ended; wait, for `seconds` at most, until all others have said so."""
        for connection, lock in self._connections.values():
            with contextlib.suppress(OSError), lock:
                connection.send_bytes(_END)
        with self._changed:
            self._changed.wait_for(lambda: self.trouble or len(self._left) == len(self._connections), seconds)

    def close(self) -> None:
        """End it. Idempotent."""
        if self._server.fileno() < 0:
            return
        self._server.close()
        os.close(self._woken)
        for connection, _ in self._connections.values():
            _shut(connection)
        for thread in self._threads:
            thread.join()
        for connection, _ in self._connections.values():
            connection.close()
        os.close(self._wake)
        if self._device >= 0:
            os.close(self._device)

    def _know(self, other: int, connection: Connection) -> None:
        self._connections[_inside(other)] = (connection, threading.Lock())

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, name="network", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self, key: bytes, deadline: float) -> tuple[Connection, int]:
        """The next that knows the key, and its number."""
        while (left := deadline - time.monotonic()) > 0:
            self._server.settimeout(left)
            try:
                incoming, _ = self._server.accept()
            except TimeoutError:
                break
            except OSError as error:  # closed meanwhile
                raise Unreachable(str(error)) from error
            connection = _connection(incoming)
            try:
                deliver_challenge(connection, key)
                answer_challenge(connection, key)
                (number,) = connection.recv_bytes(1)
            except (OSError, EOFError, ValueError, AuthenticationError):  # a stranger, or one that has gone
                connection.close()
                continue
            _patient(connection)
            return connection, number
        raise Unreachable("not all nodes of the training came")

    def _send_all(self) -> None:
        """What the sandbox sends, to whom it is for."""
        waiting = select.poll()
        waiting.register(self._device, select.POLLIN)
        waiting.register(self._wake, 0)  # its end alone
        while True:
            try:
                packet = os.read(self._device, LARGEST)
            except BlockingIOError:
                if any(ready == self._wake for ready, _ in waiting.poll()):
                    return
                continue
            except OSError:  # the sandbox has ended
                return
            target = self._connections.get(packet[16:20])
            if target and _is_between(packet, self._own, packet[16:20]):
                connection, lock = target
                with contextlib.suppress(OSError), lock:  # whoever receives from it notices
                    connection.send_bytes(packet)

    def _receive_all(self, other: bytes) -> None:
        """What another sandbox sends, to ours."""
        connection, _ = self._connections[other]
        while True:
            try:
                packet = connection.recv_bytes(LARGEST)
            except (OSError, EOFError) as error:
                self._gone(other, error)
                return
            if packet == _END:
                with self._changed:
                    self._left.add(other)
                    self._changed.notify_all()
            elif _is_between(packet, other, self._own):
                with contextlib.suppress(OSError):  # it has ended, or has no room: then it is sent again
                    os.write(self._device, packet)

    def _gone(self, other: bytes, error: Exception) -> None:
        with self._changed:
            if other in self._left or self.trouble or self._server.fileno() < 0:
                return
            self.trouble = f"the way to {socket.inet_ntoa(other)} has ended: {error or type(error).__name__}"
            self._changed.notify_all()
        self._lost()


def _inside(node: int) -> bytes:
    return socket.inet_aton(address(node))


def _is_between(packet: bytes, source: bytes, target: bytes) -> bool:
    return len(packet) >= _HEADER and packet[0] >> 4 == 4 and packet[12:16] == source and packet[16:20] == target


def _reach(place: tuple[str, int], key: bytes, deadline: float) -> Connection:
    """Connect to a station. Raises `Unreachable`."""
    reason: Exception = TimeoutError("there was no time left")
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = _connection(socket.create_connection(place, timeout=left))
        except OSError as error:  # it may come yet
            reason = error
            time.sleep(min(BETWEEN_TRIES, left))
            continue
        try:
            answer_challenge(connection, key)
            deliver_challenge(connection, key)
        except (OSError, EOFError, ValueError, AuthenticationError) as error:
            reason = error
            connection.close()
            time.sleep(min(BETWEEN_TRIES, left))
            continue
        _patient(connection)
        return connection
    raise Unreachable(f"{place[0]}:{place[1]} cannot be reached: {reason}")


def _connection(made: socket.socket) -> Connection:
    """With frames; whoever does not speak is not waited for for long."""
    made.settimeout(None)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        made.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(GREETING_SECONDS), 0))
    return Connection(made.detach())


def _patient(connection: Connection) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            same.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 0))


def _shut(connection: Connection) -> None:
    """Wake whoever waits for it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
