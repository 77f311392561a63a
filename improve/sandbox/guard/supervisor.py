"""The guard's answers to the calls that T1's filter hands over: connecting, starting processes, sending signals.

The kernel stops the calling thread until we answer. An address lies in the caller's memory, which another of its
threads can change after our look, so a connection is made here, on a socket of ours that then takes the place of the
caller's, and never by letting the call go on. Signals and flags of new processes are plain numbers: those calls may.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from . import linux, seccomp, syscalls, tree

_RECEIVE, _SEND, _STILL_VALID, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_REPLACE: Final = 1  # SECCOMP_ADDFD_FLAG_SETFD
_CONTINUE: Final = 1
_OPENAT2: Final = 437
_NO_LINKS: Final = 0x02 | 0x04  # RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
_CONNECT_SECONDS: Final = 10.0


class _Call(NamedTuple):
    ident: int
    thread: int
    number: int
    arguments: tuple[int, ...]


class Supervisor:
    """Answers for the processes below `guard`, the process that runs it.

    `sockets` are the folders in which a unix socket may be connected to. `processes` is how many may run at once, and
    `tasks` how many threads they may have, all together.
    """

    def __init__(self, listener: int, guard: int, sockets: Sequence[str], processes: int, tasks: int) -> None:
        self._listener = listener
        self._guard = guard
        self._sockets = tuple(os.path.realpath(folder) + "/" for folder in sockets)
        self._processes = processes
        self._tasks = tasks
        self._connect = syscalls.number("connect")
        self._clone = syscalls.number("clone")
        self._forks = {syscalls.number(name) for name in seccomp.FORKS}

    def answer_one(self) -> None:
        """Take one call and decide it. A caller that has ended meanwhile is no error."""
        buffer = bytearray(80)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, buffer)
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.EINTR):
                return
            raise
        ident, thread, _, number, _, _, *arguments = struct.unpack("QIIiIQ6Q", buffer)
        call = _Call(ident, thread, number, tuple(arguments))
        if number == self._connect:
            # a full queue of the listening side must not hold up the other answers
            threading.Thread(target=self._answer_connect, args=(call,), daemon=True).start()
        elif number in self._forks:
            inside = tree.descendants(self._guard)
            full = tree.threads(inside) >= self._tasks
            if not (number == self._clone and call.arguments[0] & seccomp.CLONE_THREAD):
                full = full or len(inside) >= self._processes
            self._reply(call, errno.EAGAIN if full else None)
        else:
            self._reply(call, None if self._may_signal(call) else errno.EPERM)

    def _reply(self, call: _Call, error: int | None, result: int = 0, go_on: bool = True) -> None:
        """`error` fails the call, `go_on` lets the kernel make it, else it returns `result`."""
        flags = _CONTINUE if error is None and go_on else 0
        try:
            fcntl.ioctl(self._listener, _SEND, struct.pack("QqiI", call.ident, result, -(error or 0), flags))
        except OSError as problem:
            if problem.errno != errno.ENOENT:  # the caller has been killed
                raise

    def _may_signal(self, call: _Call) -> bool:
        """Whether the target, a process, a thread or a process group, is inside."""
        target = _signed(call.arguments[0])
        if target == 0:  # its own group, which is inside since the first process leads a session of its own
            return True
        inside = tree.descendants(self._guard)
        if target > 0:
            return _process_of(target) in inside
        return target != -1 and any(_group_of(pid) == -target for pid in inside)

    def _answer_connect(self, call: _Call) -> None:
        try:
            self._connect_for(call)
        except OSError as problem:
            self._reply(call, problem.errno or errno.EPERM)
        else:
            self._reply(call, None, go_on=False)

    def _connect_for(self, call: _Call) -> None:
        """Connect the caller's socket to a unix socket in one of the folders. Raises `OSError`."""
        descriptor, address, length = call.arguments[0] & 0xFFFFFFFF, *call.arguments[1:3]
        with open(f"/proc/{call.thread}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            raw = memory.read(min(length & 0xFFFFFFFF, 110))
        fcntl.ioctl(self._listener, _STILL_VALID, struct.pack("Q", call.ident))
        path = raw[2:].split(b"\0")[0]
        if raw[:2] != struct.pack("H", socket.AF_UNIX) or not path:
            raise OSError(errno.EPERM, "only named unix sockets")
        target = self._open_inside(os.path.join(os.readlink(f"/proc/{call.thread}/cwd"), os.fsdecode(path)))
        try:
            flags = _flags_of(call.thread, descriptor)
            with socket.socket(socket.AF_UNIX, _type_of(call.thread, descriptor) | socket.SOCK_NONBLOCK) as ours:
                _connect(ours, f"/proc/self/fd/{target}", wait=not flags & os.O_NONBLOCK)
                ours.setblocking(not flags & os.O_NONBLOCK)
                place = struct.pack("QIIII", call.ident, _REPLACE, ours.fileno(), descriptor, flags & os.O_CLOEXEC)
                fcntl.ioctl(self._listener, _ADD_DESCRIPTOR, place)
        finally:
            os.close(target)

    def _open_inside(self, path: str) -> int:
        """A descriptor of the socket at `path`, links resolved before the check and none followed after it."""
        real = os.path.realpath(path)
        if not real.startswith(self._sockets):
            raise OSError(errno.EACCES, "outside")
        how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS)
        target = linux.syscall(_OPENAT2, -100, linux.buffer(os.fsencode(real)), linux.buffer(how), len(how))
        if not stat.S_ISSOCK(os.fstat(target).st_mode):
            os.close(target)
            raise OSError(errno.ECONNREFUSED, "no socket")
        return target


def _connect(endpoint: socket.socket, path: str, wait: bool) -> None:
    """Connect a non-blocking socket; if the listener's queue is full, wait for a while or fail as `connect` would."""
    deadline = time.monotonic() + (_CONNECT_SECONDS if wait else 0)
    while True:
        try:
            return endpoint.connect(path)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.005)


def _flags_of(thread: int, descriptor: int) -> int:
    """The caller's open flags of a descriptor. Raises `OSError`, EBADF for none."""
    try:
        with open(f"/proc/{thread}/fdinfo/{descriptor}", "rb") as file:
            return int(next(line for line in file if line.startswith(b"flags:")).split()[1], 8)
    except FileNotFoundError as problem:
        raise OSError(errno.EBADF, "no such descriptor") from problem


def _type_of(thread: int, descriptor: int) -> int:
    """Whether a unix socket of the caller is one for streams or for packets. Raises `OSError` if it is none."""
    name = os.readlink(f"/proc/{thread}/fd/{descriptor}")
    inode = name.removeprefix("socket:[").removesuffix("]")
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        for line in file:  # address, references, protocol, flags, type, state, inode, path
            fields = line.split(maxsplit=7)
            if len(fields) > 6 and fields[6] == inode:
                return int(fields[4], 16)
    raise OSError(errno.ENOTSOCK, "not a unix socket")


def _signed(value: int) -> int:
    """The int that the low half of a register holds."""
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "little", signed=True)


def _process_of(thread: int) -> int:
    """The process that a thread belongs to; 0 if it is gone."""
    try:
        with open(f"/proc/{thread}/status", "rb") as file:
            return int(next(line for line in file if line.startswith(b"Tgid:")).split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
