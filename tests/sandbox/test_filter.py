"""The system call filters, run in an interpreter of our own for both processors: also for the one we are not on."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from improve.sandbox.guard import bpf, seccomp, syscalls

MACHINES = tuple(bpf.AUDIT_ARCH)
PROGRAMS = {(machine, strict): seccomp.program(strict, machine) for machine in MACHINES for strict in (False, True)}
FILTERS = st.sampled_from(sorted(PROGRAMS))
WORDS = st.integers(0, (1 << 64) - 1)
CLONE_THREAD, CLONE_NEWUSER, SIGCHLD = 0x10000, 0x10000000, 17


def run(machine: str, strict: bool, number: int, *arguments: int, arch: int | None = None) -> int:
    """The action that the filter takes on a call."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("IIQ6Q", number, bpf.AUDIT_ARCH[machine] if arch is None else arch, 0, *padded)
    code = [
        struct.unpack_from("HBBI", PROGRAMS[machine, strict], at) for at in range(0, len(PROGRAMS[machine, strict]), 8)
    ]
    at = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("I", data, value)[0]
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x06:
            return value
        else:
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x45: bool(accumulator & value)}[operation]
            at += if_true if holds else if_false


def call(machine: str, strict: bool, name: str, *arguments: int) -> int:
    number = syscalls.number(name, machine)
    assert number is not None
    return run(machine, strict, number, *arguments)


@given(FILTERS, st.integers(0, 1000), st.lists(WORDS, max_size=6))
@settings(max_examples=300, deadline=None)
def test_every_call_ends_in_a_known_action(filter_: tuple[str, bool], number: int, arguments: list[int]) -> None:
    action = run(*filter_, number, *arguments)
    known = {syscalls.number(name, filter_[0]) for name in syscalls._NUMBERS}
    if number > syscalls.HIGHEST:
        assert action == bpf.error(errno.ENOSYS)
    elif number not in known:
        assert action == bpf.ALLOW
    else:
        assert action in (bpf.ALLOW, bpf.NOTIFY) or action >> 16 == 0x0005


@given(FILTERS, st.integers(0, (1 << 32) - 1), st.integers(0, 500))
@settings(max_examples=100, deadline=None)
def test_another_calling_convention_ends_the_process(filter_: tuple[str, bool], arch: int, number: int) -> None:
    expected = arch == bpf.AUDIT_ARCH[filter_[0]]
    assert (run(*filter_, number, arch=arch) != bpf.KILL) is expected


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("strict", [False, True])
def test_forbidden_calls_are_denied(machine: str, strict: bool) -> None:
    for name in seccomp.FORBIDDEN:
        if syscalls.number(name, machine) is not None:
            assert call(machine, strict, name) == bpf.error(errno.EPERM), name


@given(FILTERS, WORDS, WORDS)
@settings(max_examples=200, deadline=None)
def test_only_unix_sockets(filter_: tuple[str, bool], family: int, kind: int) -> None:
    action = call(*filter_, "socket", family, kind)
    if family & 0xFFFFFFFF != socket.AF_UNIX:
        assert action == bpf.error(errno.EAFNOSUPPORT)
    elif not filter_[1] or kind & 0xF in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        assert action == bpf.ALLOW
    else:
        assert action == bpf.error(errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_and_processes_are_asked_about_namespaces_are_denied(machine: str) -> None:
    assert call(machine, True, "clone", CLONE_THREAD) == bpf.NOTIFY
    assert call(machine, False, "clone", CLONE_THREAD) == bpf.ALLOW
    assert call(machine, True, "clone", SIGCHLD) == bpf.NOTIFY
    assert call(machine, False, "clone", SIGCHLD) == bpf.ALLOW
    for strict in (False, True):
        assert call(machine, strict, "clone", CLONE_THREAD | CLONE_NEWUSER) == bpf.error(errno.EPERM)
        assert call(machine, strict, "clone3") == bpf.error(errno.ENOSYS)


def test_numbers_are_those_of_the_headers() -> None:
    """A few that are easy to mix up, from the kernel's tables of both processors."""
    for name, numbers in {"connect": (42, 203), "kill": (62, 129), "openat": (257, 56), "ptrace": (101, 117)}.items():
        assert tuple(syscalls.number(name, machine) for machine in MACHINES) == numbers


@given(FILTERS, st.integers(0, 3), WORDS)
@settings(max_examples=100, deadline=None)
def test_only_its_own_priority_and_processors(filter_: tuple[str, bool], kind: int, whose: int) -> None:
    own = whose & 0xFFFFFFFF == 0
    assert (call(*filter_, "setpriority", kind, whose) == bpf.ALLOW) is (own and kind == 0)
    assert (call(*filter_, "sched_setaffinity", whose) == bpf.ALLOW) is own


@given(FILTERS, WORDS, WORDS)
@settings(max_examples=100, deadline=None)
def test_files_take_no_other_questions_and_no_reservations(filter_: tuple[str, bool], what: int, flags: int) -> None:
    asked = call(*filter_, "ioctl", 5, what)
    assert (asked == bpf.ALLOW) is (what & 0xFFFFFFFF in seccomp._IOCTL)
    assert call(*filter_, "fallocate", 5, flags) == bpf.error(errno.EOPNOTSUPP)
    for name in seccomp.UNSUPPORTED:
        assert call(*filter_, name) == bpf.error(errno.EOPNOTSUPP)


@given(FILTERS, WORDS)
@settings(max_examples=100, deadline=None)
def test_the_page_cache_cannot_be_asked_or_told(filter_: tuple[str, bool], flags: int) -> None:
    assert call(*filter_, "mincore") == call(*filter_, "cachestat") == bpf.error(errno.EPERM)
    assert call(*filter_, "fadvise64", 3, 0, 0, 4) == call(*filter_, "readahead") == bpf.error(0)
    assert (call(*filter_, "preadv2", 3, 0, 1, 0, 0, flags) == bpf.ALLOW) is (not flags & 8)
    assert (call(*filter_, "madvise", 0, 4096, flags) == bpf.ALLOW) is (flags & 0xFFFFFFFF not in (20, 21))


@pytest.mark.parametrize("machine", MACHINES)
def test_drivers_of_gpus_are_asked_and_files_are_not(machine: str) -> None:
    rules = seccomp.program(False, machine, gpu=True)
    assert rules != PROGRAMS[machine, False]
    PROGRAMS[machine, None] = rules  # type: ignore[index]
    number = syscalls.number("ioctl", machine)
    assert number is not None
    assert run(machine, None, number, 3, 0xC020462A) == bpf.ALLOW  # type: ignore[arg-type]  # one of NVIDIA's
    for denied in seccomp._IOCTL_DENIED:
        assert run(machine, None, number, 3, denied) == bpf.error(errno.EPERM)  # type: ignore[arg-type]
