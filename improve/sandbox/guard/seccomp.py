"""Which system calls the confined code may make.

Both verified tiers deny what could reach the kernel's less trodden parts, other processes, namespaces or any network.
AF_UNIX stays open: DataLoader workers deadlock without it. T1 shares the host's processes and files, so there
three kinds of calls are decided by the guard (`supervisor.py`), and calls that Landlock does not cover (mode, owner and
times of a file) do nothing: the sandbox says "done", as code that copies files expects, and leaves the file alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Final

from . import bpf, linux, syscalls

# fmt: off
FORBIDDEN: Final = (
    # other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp", "pidfd_getfd",
    "pidfd_send_signal", "migrate_pages", "move_pages", "ioprio_set",
    # large or old parts of the kernel
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_secret",
    "keyctl", "add_key", "request_key", "lookup_dcookie", "uselib", "modify_ldt", "iopl", "ioperm", "vhangup",
    # mounts and namespaces
    "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "move_mount", "open_tree", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr",
    # the machine
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
    "acct", "quotactl", "quotactl_fd", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "sethostname", "setdomainname",
    # files by handle; being told of what others do with files
    "name_to_handle_at", "open_by_handle_at", "fanotify_init", "fanotify_mark", "inotify_add_watch",
    # System V memory and message queues, which outlive a process
    "shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "msgctl", "semget", "semop", "semtimedop", "semctl",
    "mq_open", "mq_unlink",
    # what is in the page cache: a file that two sandboxes see could carry a message by it
    "mincore", "cachestat",
)
ADVICE: Final = ("fadvise64", "readahead")  # what shall be in the page cache; nothing depends on being heeded
PRETENDED: Final = ("chmod", "fchmod", "fchmodat", "utime", "utimes", "utimensat", "futimesat")
UNSUPPORTED: Final = (
    "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
    "fallocate",  # takes any amount of disk at once, past RLIMIT_FSIZE; the C library writes zeros instead
)
# fmt: on
NOT_ON_HOST_FILES: Final = ("chown", "fchown", "lchown", "fchownat", "truncate")
SIGNALS: Final = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
FORKS: Final = ("clone", "fork", "vfork")
NOTIFIED: Final = ("connect", *FORKS, *SIGNALS)

_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW* in clone's flags
CLONE_THREAD: Final = 0x00010000
_STREAM, _SEQPACKET, _SOCKET_TYPES = 1, 5, 0xF
_ACCESS_AND_TRUNCATE, _TRUNCATE = 0o1003, 0o1000
_PRCTL: Final = (linux.PR_SET_DUMPABLE, 35)  # 35: PR_SET_MM; undumpable processes would hide their memory from us
_PRIO_PROCESS: Final = 0
_NOWAIT: Final = 0x8  # RWF_NOWAIT: read only what is in the page cache
_EVICT: Final = (20, 21)  # MADV_COLD, MADV_PAGEOUT
# TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what programs ask of a descriptor that may be a
# terminal. Of a file there is nothing to ask: its flags and version outlive a sandbox, and some reserve disk.
_IOCTL: Final = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# With a GPU, whose driver is asked by hundreds of others: TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP (input and signals),
# FS_IOC_SETFLAGS and SETVERSION (both widths), FSSETXATTR, FICLONE, FICLONERANGE, FIDEDUPERANGE, FS_IOC_RESVSP,
# RESVSP64, ZERO_RANGE (files)
_IOCTL_DENIED: Final = (
    0x5412, 0x541C, 0x8901, 0x8902, 0x40086602, 0x40046602, 0x40087602, 0x40047602, 0x401C5820, 0x40049409, 0x4020940D,
    0xC0189436, 0x40305828, 0x4030582A, 0x40305839,
)  # fmt: skip
_FCNTL: Final = (8, 10, 15, 1024, 1026)  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: signals
_SETTING: Final = {"x86_64": 317, "aarch64": 277}
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5

_DENY: Final = bpf.error(errno.EPERM)


def program(supervised: bool, machine: str = "", gpu: bool = False, loopback: bool = False) -> bytes:
    """The filter as the kernel and bubblewrap take it. `supervised`: the stricter one of T1, which needs a guard.

    `loopback`: streams of IPv4, and the questions for interfaces that go with them, where the program has a network of
    its own in which there is nothing but itself, or sandboxes of the same training.
    """
    machine = machine or os.uname().machine
    named: dict[str, bpf.Body] = dict.fromkeys(FORBIDDEN, bpf.answer(_DENY))
    named |= dict.fromkeys(ADVICE, bpf.answer(bpf.error(0)))
    named |= dict.fromkeys(UNSUPPORTED, bpf.answer(bpf.error(errno.EOPNOTSUPP)))
    named["clone3"] = bpf.answer(bpf.error(errno.ENOSYS))  # its flags lie in memory; libraries fall back to clone
    named["prctl"] = bpf.if_one_of(0, _PRCTL, _DENY, bpf.ALLOW)
    named["ioctl"] = bpf.if_one_of(1, _IOCTL, bpf.ALLOW, bpf.error(errno.ENOTTY))
    if gpu:
        named["ioctl"] = bpf.if_one_of(1, _IOCTL_DENIED, _DENY, bpf.ALLOW)
    named["madvise"] = bpf.if_one_of(2, _EVICT, bpf.error(errno.EINVAL), bpf.ALLOW)
    named["preadv2"] = bpf.argument(5) + bpf.if_any_bit(_NOWAIT, bpf.answer(bpf.error(errno.EOPNOTSUPP)))
    named["preadv2"] += bpf.answer(bpf.ALLOW)
    named["fcntl"] = bpf.if_one_of(1, _FCNTL, _DENY, bpf.ALLOW)
    named["personality"] = bpf.if_one_of(0, (0, 0xFFFFFFFF), bpf.ALLOW, _DENY)
    named["prlimit64"] = bpf.if_one_of(0, (0,), bpf.ALLOW, _DENY)
    # whose (1) is 0 for oneself; but with another kind (0) than one process it is all of one's group or user
    named["setpriority"] = bpf.argument(0) + bpf.if_equal(_PRIO_PROCESS, bpf.if_one_of(1, (0,), bpf.ALLOW, _DENY))
    named["setpriority"] += bpf.answer(_DENY)
    for name in ("sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity"):
        named[name] = bpf.if_one_of(0, (0,), bpf.ALLOW, _DENY)
    named["socket"] = _sockets(supervised, loopback)
    named["clone"] = _clones(supervised)
    if supervised:
        named |= _shared_host()
    rules = {number: body for name, body in named.items() if (number := syscalls.number(name, machine)) is not None}
    return bpf.assemble(machine, syscalls.HIGHEST, rules, bpf.error(errno.ENOSYS))


def _sockets(supervised: bool, loopback: bool) -> bpf.Body:
    """AF_UNIX alone. Where the host's sockets are in reach, no datagrams: they name their target in memory."""
    body = bpf.argument(0) + bpf.if_equal(socket.AF_UNIX, _unix_types() if supervised else bpf.answer(bpf.ALLOW))
    if loopback:
        body += bpf.if_equal(socket.AF_INET, _streams()) + bpf.if_equal(socket.AF_NETLINK, _routes())
    return body + bpf.answer(bpf.error(errno.EAFNOSUPPORT))


def _streams() -> bpf.Body:
    body = bpf.argument(1) + bpf.mask(_SOCKET_TYPES) + bpf.if_equal(_STREAM, bpf.answer(bpf.ALLOW))
    return body + bpf.answer(_DENY)


def _routes() -> bpf.Body:
    """NETLINK_ROUTE, by which libraries find the interfaces there are."""
    return bpf.argument(2) + bpf.if_equal(0, bpf.answer(bpf.ALLOW)) + bpf.answer(_DENY)


def _unix_types() -> bpf.Body:
    body = bpf.argument(1) + bpf.mask(_SOCKET_TYPES)
    for kind in (_STREAM, _SEQPACKET):
        body += bpf.if_equal(kind, bpf.answer(bpf.ALLOW))
    return body + bpf.answer(_DENY)


def _clones(supervised: bool) -> bpf.Body:
    body = bpf.argument(0) + bpf.if_any_bit(_NEW_NAMESPACES, bpf.answer(_DENY))
    return body + bpf.answer(bpf.NOTIFY if supervised else bpf.ALLOW)


def _shared_host() -> dict[str, bpf.Body]:
    named: dict[str, bpf.Body] = dict.fromkeys(PRETENDED, bpf.answer(bpf.error(0)))
    named |= dict.fromkeys(NOT_ON_HOST_FILES, bpf.answer(_DENY))
    named |= {name: bpf.answer(bpf.NOTIFY) for name in NOTIFIED if name != "clone"}
    # Landlock before its third version lets a file that may be read be emptied
    for name, flags in (("open", 1), ("openat", 2)):
        body = bpf.argument(flags) + bpf.mask(_ACCESS_AND_TRUNCATE)
        named[name] = body + bpf.if_equal(_TRUNCATE, bpf.answer(_DENY)) + bpf.answer(bpf.ALLOW)
    named["openat2"] = bpf.answer(bpf.error(errno.ENOSYS))
    return named


def install(filter_program: bytes, supervised: bool = True) -> int:
    """Confine the calling thread, for good. Returns the descriptor on which its guard is asked; without one, 0.

    Raises `OSError`. Needs no_new_privs.
    """
    code = linux.buffer(filter_program)
    header = linux.buffer(struct.pack("HxxxxxxQ", len(filter_program) // 8, ctypes.addressof(code)))
    number = _SETTING[os.uname().machine]
    if not supervised:
        return linux.syscall(number, 1, 0, header)
    try:  # a notified call then is not interrupted by a signal and made twice (Linux 5.19)
        return linux.syscall(number, 1, _NEW_LISTENER | _WAIT_KILLABLE, header)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        return linux.syscall(number, 1, _NEW_LISTENER, header)
