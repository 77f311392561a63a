"""Several processes for one training: one for each device of each node, which agree on all that decides how it goes on.

Every process does the same with its part of each batch. Where one of them measures a time, or draws at random what all
must share, the first one's word counts. Without such processes each function here gives back what it is given.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from context import Context
from torch.utils.data import Sampler

T = TypeVar("T")
MEETING = "ranks"  # file in the work folder by which the processes of one node find each other
_agreeing: Any = None  # the group of processes for small things, which lie in main memory
_store: Any = None  # by which the processes of several nodes find each other


@dataclass(frozen=True)
class Node:
    """This machine among those of a training. `first`: HOST:PORT where the first process of all awaits the others;
    nothing: there is one machine. `interface`: of the network that they have."""

    number: int = 0
    first: str = ""
    interface: str = "lo"


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_first_here() -> bool:
    """Whether it is the first process of its node."""
    return size() == 1 or os.environ["LOCAL_RANK"] == "0"


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


def fewest(count: int) -> int:
    """The smallest of this number that a process has."""
    return -int(largest(-float(count))[0])


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


def start(context: Context, node: Node, local: int, meeting: Path) -> None:
    """Make this process the one of a device, and meet the others. `meeting`: a file that none has made yet."""
    global _agreeing, _store  # noqa: PLW0603  # as torch's own default group
    gpu = context.accelerator != "cpu" and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(local)
    os.environ["LOCAL_RANK"] = str(local)  # Lightning then starts no processes of its own
    os.environ["NODE_RANK"] = str(node.number)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, node.interface)
    place, kind = node.number * context.devices + local, "nccl" if gpu else "gloo"
    if node.first:
        host, port = node.first.split(":")
        _store = dist.TCPStore(host, int(port), context.processes, place == 0)  # type: ignore[attr-defined]
        dist.init_process_group(kind, store=_store, rank=place, world_size=context.processes)
    else:
        dist.init_process_group(kind, init_method=f"file://{meeting}", rank=place, world_size=context.processes)
    _agreeing = dist.new_group(backend="gloo") if gpu else dist.group.WORLD


def run(
    context: Context,
    out: Path,
    body: Callable[[Context], None],
    failed: Callable[[BaseException], None],
    node: Node = Node(),
) -> int:
    """Call `body` in a process for each device of this node; gives an exit code, 0 if all went well.

    When one fails the others are ended. `failed` is called with what it raised, in the first one to fail. The
    processes are forks: this one must not have used torch's threads or a GPU.
    """
    meeting, first = out / MEETING, out / f"{MEETING}.failed"
    for left in (meeting, first):
        left.unlink(missing_ok=True)

    def one(local: int) -> None:
        start(context, node, local, meeting)
        body(context.replace(threads=max(1, context.threads // context.devices)))
        wait()

    children = {_forked(partial(one, local), bool(local), first, failed) for local in range(context.devices)}
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


def _forked(body: Callable[[], None], silent: bool, first: Path, failed: Callable[[BaseException], None]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if silent:  # what they print is the same
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
        body()
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
    if _store is None:
        return True
    try:
        return bool(_store.add("failed", 1) == 1)
    except RuntimeError:  # the process that keeps it is gone
        return False
