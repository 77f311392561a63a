"""A process that has imported what generated code needs, and forks: each fork is confined before it runs any of it.

    python -I -S -B -c "import sys; sys.path.append(FOLDER); from guard.zygote import main; main()" CONTROL_FD

The first message on the control socket says what to import and from where; the answer is `{}`, or `{"error": …}` with
the last line of what the import raised. Each later message is a request for a fork, with its descriptors; the answer
is `{"pid": …}`. Generated code never runs in this process, so that each fork starts from the same untouched state.
"""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

from . import fork, join, linux
from . import main as guard

LARGEST: Final = 1 << 20  # bytes of a message
DESCRIPTORS: Final = 16  # of a message, at most


class _Chosen(importlib.machinery.FileFinder):
    """Finds only some of the modules of a folder, and need not be able to list it."""

    names: frozenset[str] = frozenset()

    def _fill_cache(self) -> None:
        self._path_cache = set(self.names)
        self._relaxed_path_cache = {name.lower() for name in self.names}


def main() -> NoReturn:
    """Import, then fork whenever it is asked for, until the control socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    plan = json.loads(control.recv(LARGEST))
    gc.disable()
    try:
        program = _imported(plan)
    except BaseException as problem:  # noqa: BLE001  # told to whoever waits for the import, whatever it is
        traceback.print_exc()
        last = "".join(traceback.format_exception_only(problem)).strip().splitlines()[-1]
        control.sendall(json.dumps({"error": last}).encode())
        os._exit(1)
    gc.freeze()  # a collection in a fork would else touch, and so copy, all that was imported: a quarter of a second
    gc.enable()
    control.sendall(b"{}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LARGEST, DESCRIPTORS)
        if not message:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            _serve(json.loads(message), descriptors, program)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(json.dumps({"pid": pid}).encode())


def _imported(plan: Mapping[str, Any]) -> Callable[[], None]:
    """Make the folders of `plan` the only ones beside the standard library; what to call in a fork."""
    sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(os.path.dirname(__file__))]
    sys.path[:0] = [plan["own"]]
    sys.path += [folder for folder, _ in plan["packages"]]
    chosen = {folder: frozenset(names) for folder, names in plan["packages"]}
    loaders = (
        (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
        (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
    )

    def hook(path: str) -> _Chosen:
        if path not in chosen:
            raise ImportError
        finder = _Chosen(path, *loaders)
        finder.names = chosen[path]
        return finder

    sys.path_hooks.insert(0, hook)
    _choose_metadata(chosen)
    sys.argv = [plan["module"]]
    os.environ.clear()
    os.environ.update(plan["env"])
    program: Callable[[], None] = importlib.import_module(plan["module"]).main
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise RuntimeError(f"{threads} threads run after the import: this process cannot be forked")
    return program


def _choose_metadata(chosen: Mapping[str, frozenset[str]]) -> None:
    """Libraries ask by metadata what else is installed, and import that."""
    path: Any = vars(importlib.metadata)["FastPath"]
    every = path.children

    def children(self: Any) -> Iterable[str]:
        names: Iterable[str] = chosen[self.root] if self.root in chosen else every(self)
        return names

    path.children = children


def _serve(request: dict[str, Any], descriptors: list[int], program: Callable[[], None]) -> NoReturn:
    """In a fork: become the guardian of one confined program."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    given = dict(zip(request["descriptors"], descriptors, strict=True))
    fork.keep({0, 1, 2, *given.values()})
    control = socket.socket(fileno=given.pop("control"))
    try:
        if request["kind"] == "join":  # a guard learns of the end by its control socket, and has to sweep then
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            join.carry_out(request, given, control, program)
        guard.watch_over(request, control, given, program)
    except BaseException as problem:  # noqa: BLE001  # the parent must learn of it: nothing else is heard from here
        control.sendall(json.dumps({"error": f"{type(problem).__name__}: {problem}"}).encode() + b"\n")
    os._exit(1)
