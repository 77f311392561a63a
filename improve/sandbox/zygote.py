"""Our side of the process that imports once and forks for each sandbox (`guard/zygote.py`)."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from improve.config.invocation import command, install_command
from improve.errors import SandboxError
from improve.sandbox import visible
from improve.sandbox.launcher import LAUNCHER

BOOT: Final = "import sys; sys.path.append(sys.argv.pop()); from guard.{name} import main; main()"
_LARGEST: Final = 1 << 20
_IMPORT_SECONDS: Final = 300.0  # on a busy machine with a cold disk
_FORK_SECONDS: Final = 60.0


class Zygote:
    """Imports `module` of `folder`, and the allowed packages with it; each fork of it calls the module's `main`.

    The import starts at once and goes on beside us: what fails there is told by `wait` and by every fork.
    """

    def __init__(self, folder: Path, module: str, env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._ready = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # until `close`
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        boot = BOOT.format(name="zygote")
        argv = [sys.executable, "-I", "-S", "-B", "-c", boot, str(theirs.fileno()), str(Path(__file__).parent)]
        with theirs:
            self._process = LAUNCHER.popen(argv, self._log, {**env}, [theirs.fileno()])
        plan = {"own": str(folder), "module": module, "env": dict(env), "packages": visible.python_path()}
        with contextlib.suppress(BrokenPipeError):
            self._control.sendall(json.dumps(plan).encode())

    def wait(self) -> None:
        """Until the import is done. Raises `SandboxError` with the last line of what it raised."""
        with self._lock:
            self._wait()

    def _wait(self) -> None:
        if self._ready:
            return
        answer = self._receive(_IMPORT_SECONDS)
        if "error" not in answer:
            self._ready = True
            return
        fix = install_command("--force-reinstall", "torch", "torchvision", "timm")
        raise SandboxError(f"What generated code needs cannot be imported: {answer['error']}", fix)

    def fork(self, request: Mapping[str, Any], descriptors: Mapping[str, int]) -> int:
        """The process id of a fork that carries out `request` with these descriptors, by name. Raises `SandboxError`.

        Names that are numbers say where the program finds them.
        """
        message = json.dumps({**request, "descriptors": list(descriptors)}).encode()
        with self._lock:
            self._wait()
            with contextlib.suppress(BrokenPipeError):
                socket.send_fds(self._control, [message], list(descriptors.values()))
            answer = self._receive(_FORK_SECONDS)
        if "pid" not in answer:
            raise SandboxError(f"No sandbox could be started: {answer['error']}", command("doctor"))
        return int(answer["pid"])

    def _receive(self, seconds: float) -> dict[str, Any]:
        """The next answer; an `error` if there is none."""
        if not select.select([self._control], [], [], seconds)[0]:
            return {"error": f"no answer within {seconds:.0f} s"}
        try:
            message = self._control.recv(_LARGEST)
        except ConnectionResetError:
            message = b""
        if message:
            answer: dict[str, Any] = json.loads(message)
            return answer
        code = self._process.wait(_FORK_SECONDS)
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return {"error": said[-1] if said else f"the process ended with code {code}"}

    def close(self) -> None:
        """End it; its forks end with it. Idempotent."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._log.close()
