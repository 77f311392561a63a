"""Several processes for one training: one for each device, which agree on all that decides how it goes on.

Every process does the same with its part of each batch. Where one of them measures a time, or draws at random what all
must share, the first one's word counts. Without such processes each function here gives back what it is given.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from context import Context
from torch.utils.data import Sampler

T = TypeVar("T")
MEETING = "ranks"  # file in the work folder by which the processes find each other
_agreeing: Any = None  # the group of processes for small things, which lie in main memory


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def shared(value: T) -> T:
    """The first process's value."""
    if size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, 0, group=_agreeing)
    return held[0]


def largest(*values: float) -> list[float]:
    """Of each of these numbers the largest that a process has."""
    return _reduced(values, dist.ReduceOp.MAX)


def sums(*values: float) -> list[float]:
    """Of each of these numbers the sum over the processes."""
    return _reduced(values, dist.ReduceOp.SUM)


def _reduced(values: Sequence[float], operation: Any) -> list[float]:
    if size() == 1:
        return list(values)
    held = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(held, operation, group=_agreeing)
    return [float(value) for value in held]


def any_of(flag: bool) -> bool:
    """Whether it is true in any process."""
    return largest(float(flag))[0] > 0


def wait() -> None:
    """Until all processes are here."""
    if size() > 1:
        dist.barrier(group=_agreeing)


class SharedBatches(Sampler[list[int]]):
    """This process's part of each batch: the order is the first process's, and all parts have the same size.

    A batch that cannot be divided is filled up with its own first rows.
    """

    def __init__(self, order: Sampler[int], batch_size: int, drop_last: bool) -> None:
        self.order, self.batch_size, self.drop_last = order, batch_size, drop_last

    def __len__(self) -> int:
        rows = len(self.order)  # type: ignore[arg-type]
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rows = shared(list(self.order))
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = rows[start : start + self.batch_size]
            filled = [batch[place % len(batch)] for place in range(-(-len(batch) // size()) * size())]
            yield filled[rank() :: size()]


def start(context: Context, local: int, meeting: Path) -> None:
    """Make this process the one of a device, and meet the others. `meeting`: a file that none has made yet."""
    global _agreeing  # noqa: PLW0603  # as torch's own default group
    gpu = context.accelerator != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local)
    os.environ["LOCAL_RANK"] = str(local)  # Lightning then starts no processes of its own
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")
    dist.init_process_group(
        "nccl" if gpu else "gloo", init_method=f"file://{meeting}", rank=local, world_size=context.devices
    )
    _agreeing = dist.new_group(backend="gloo") if gpu else dist.group.WORLD


def run(context: Context, out: Path, body: Callable[[Context], None], failed: Callable[[BaseException], None]) -> int:
    """Call `body` in a process for each device; gives an exit code, 0 if all went well.

    When one fails the others are ended. `failed` is called with what it raised, in the first one to fail. The
    processes are forks: this one must not have used torch's threads or a GPU.
    """
    meeting, first = out / MEETING, out / f"{MEETING}.failed"
    for left in (meeting, first):
        left.unlink(missing_ok=True)
    children = {_forked(context, local, meeting, first, body, failed) for local in range(context.devices)}
    code = 0
    while children:
        child, status = os.wait()
        if child not in children:
            continue
        children.discard(child)
        if status and not code:
            code = os.waitstatus_to_exitcode(status)
            for other in children:
                os.kill(other, signal.SIGKILL)
    for left in (meeting, first):
        left.unlink(missing_ok=True)
    return code


def _forked(
    context: Context,
    local: int,
    meeting: Path,
    first: Path,
    body: Callable[[Context], None],
    failed: Callable[[BaseException], None],
) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if local:  # what they print is the same
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
        start(context, local, meeting)
        body(context.replace(threads=max(1, context.threads // context.devices)))
        wait()
        code = 0
    except BaseException as error:  # noqa: BLE001  # whoever started this is told
        if _is_first(first):
            failed(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _is_first(file: Path) -> bool:
    """Whether no other process has failed before: what they raise then is that one is missing."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
