"""Sandboxes that are members of one network, each with its station's end of it, in this process."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from improve.execution.cluster.network import Peers, Together, address
from improve.sandbox import Launch, Limits, Zygote
from improve.sandbox.tier3 import BubblewrapSandbox

KEY = "07" * 32
# Runs each line of its input as code; `say` answers over descriptor 3. Imports of `json`, `os` and `sys` go before it.
LOOP = """
def say(*values):
    os.write(3, (json.dumps(values) + "\\n").encode())
def main():
    for line in sys.stdin:
        try:
            exec(line, globals())
        except OSError as problem:
            say("error", problem.errno)
"""
MODULE = f"import json, os, socket, sys\n{LOOP}"
LIMITS = Limits(memory_bytes=1 << 30, disk_bytes=1 << 24, output_bytes=10_000, processes=32, loopback=True)


@contextmanager
def talkers(folder: Path) -> Iterator[Zygote]:
    """What members are forked from."""
    folder.chmod(0o755)
    (folder / "talker.py").write_text(MODULE)
    made = Zygote(folder, "talker", {"PATH": os.defpath})
    try:
        yield made
    finally:
        made.close()


class Member:
    """A sandbox in the network, and its station's end of it."""

    def __init__(self, zygote: Zygote, work: Path, node: int) -> None:
        work.mkdir()
        source, sink = os.pipe()
        launch = Launch(work=work, cwd=work, env={}, limits=Limits(**{**vars(LIMITS), "address": address(node)}))
        self.confined = BubblewrapSandbox().fork(zygote, launch, None, {3: sink})
        os.close(sink)
        self.answers = os.fdopen(source, "rb")
        self.peers = Peers("127.0.0.1")
        self.lost = threading.Event()

    def join(self, together: Together) -> None:
        assert self.confined.packets is not None
        self.peers.join(together, self.confined.packets, self.lost.set, time.monotonic() + 60)

    def tell(self, code: str) -> None:
        self.confined.stdin.write(code.encode() + b"\n")

    def heard(self) -> Any:
        line = self.answers.readline()
        return json.loads(line) if line else None

    def ask(self, code: str) -> Any:
        self.tell(code)
        return self.heard()

    def close(self) -> None:
        self.peers.close()
        self.confined.release()
        self.answers.close()


def meet(members: list[Member]) -> None:
    places = tuple(("127.0.0.1", member.peers.port) for member in members)
    threads = [
        threading.Thread(target=member.join, args=[Together(places, KEY, node)]) for node, member in enumerate(members)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
