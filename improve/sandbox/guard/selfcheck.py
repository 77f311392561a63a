"""Tried from inside a freshly chosen sandbox: what must not work, and what must.

    python -I -S selfcheck.py '{"secret": …, "outside": …, "work": …, "pid": …}' REPORT_FD

Writes one JSON object to the descriptor. The parent judges by what it sees itself: whether its secret came back,
whether the file outside exists, whether its process still lives.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
from typing import Any


def read(path: str) -> str:
    """The file's text, or nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def works(action: Any, *arguments: Any) -> bool:
    """Whether the call goes through."""
    try:
        action(*arguments)
    except OSError:
        return False
    return True


def write(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("written")


def connect(path: str) -> None:
    """What DataLoader workers need: a unix socket that a process of the sandbox listens on."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        os.chdir(os.path.dirname(path))  # a socket's name may have 107 bytes at most
        listener.bind(os.path.basename(path))
        listener.listen()
        client.connect(os.path.basename(path))
        client.sendall(b"ping")
        with listener.accept()[0] as server:
            if server.recv(4) != b"ping":
                raise OSError("another socket answered")


def main() -> None:
    targets: dict[str, Any] = json.loads(sys.argv[1])
    report = {
        "secret": read(targets["secret"]),
        "environment": read(f"/proc/{targets['pid']}/environ"),
        "outside": works(write, targets["outside"]),
        "inet": works(socket.socket, socket.AF_INET, socket.SOCK_STREAM),
        "work": works(write, os.path.join(targets["work"], "written")),
        "scratch": works(write, os.path.join(tempfile.gettempdir(), "written")),
        "unix": works(connect, os.path.join(targets["work"], "socket")),
    }
    works(os.kill, targets["pid"], signal.SIGKILL)  # last: in a small PID namespace the number may be our own
    os.write(int(sys.argv[2]), json.dumps(report).encode())


if __name__ == "__main__":
    main()
