"""What an iteration costs beside its training, its prediction and the calls to models.

    python -m benchmarks.overhead RUN [--cells N]

From the journal of a run, an iteration a line, seconds: the wall time from the end of the iteration before to its own
end; the calls to models; the fit; the prediction; the checks (smoke runs) and audits; and the rest, which is ours. Then
how much of the time limit those trainings used that were to fill it. With `--cells N`, also what the start of a cell
costs, the median of N: in wall time, and with the processor time of all processes. An iteration starts four to six of
them, most while a training runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import psutil

from improve.config.schema import ExecutorConfig
from improve.execution.cell import Cell, limits_of, new_zygote
from improve.execution.place import Place
from improve.record import journal
from improve.record.journal import Record
from improve.sandbox import Sandbox, choose

PARTS = ("calls", "fit", "predict", "check", "audit")


def of_iterations(records: Iterable[Record]) -> list[dict[str, float]]:
    """The parts of each iteration after the first, in seconds, with `wall` and `rest`."""
    found: list[dict[str, float]] = []
    parts = dict.fromkeys(PARTS, 0.0)
    before: datetime | None = None
    for record in records:
        if record.kind == "llm":
            parts["calls"] += record.seconds
        elif record.kind == "training":
            parts["fit"] += record.data["fit_seconds"]
        elif record.kind == "score":
            parts["predict"] += record.data.get("predict_seconds", record.seconds)
        elif record.kind in ("check", "audit"):
            parts[record.kind] += record.seconds
        elif record.kind == "summary":
            at = datetime.fromisoformat(record.at)
            if before is not None:
                wall = (at - before).total_seconds()
                found.append({**parts, "wall": wall, "rest": wall - sum(parts.values())})
            parts, before = dict.fromkeys(PARTS, 0.0), at
    return found


def limits_used(records: Sequence[Record]) -> list[float]:
    """Of each training that was planned to fill its time limit, the share of it that the training took."""
    limit = float(records[0].data["config"]["executor"]["fit_seconds"])
    trained = [record.data for record in records if record.kind == "training" and record.data.get("step_seconds")]
    return [data["fit_seconds"] / limit for data in trained if data["planned_steps"] == data["steps_that_fit"]]


def cell_starts(sandbox: Sandbox, times: int) -> tuple[float, float]:
    """Median wall and processor seconds of the start and the end of a cell."""
    wall, used = [], []
    with tempfile.TemporaryDirectory() as folder, closing(new_zygote()) as zygote:
        zygote.wait()
        for _ in range(times):
            began, before = time.monotonic(), _processor_seconds()
            place = Place(Path(folder).resolve())
            cell = Cell(sandbox, zygote, place, readable=[], limits=limits_of(ExecutorConfig()), log=None, devices=())
            cell.warm_up()
            cell.close()
            wall.append(time.monotonic() - began)
            used.append(_processor_seconds() - before)
    return statistics.median(wall), statistics.median(used)


def _processor_seconds() -> float:
    """Of the whole machine: bubblewrap's processes are not all ours to ask. Others' work adds to it."""
    busy = psutil.cpu_times()
    return float(busy.user + busy.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cells", type=int, default=0)
    arguments = parser.parse_args()
    records = journal.read(arguments.run / journal.JOURNAL)[0]
    found = of_iterations(records)
    names = ("wall", *PARTS, "rest")
    print("  ".join(f"{name:>8}" for name in names))
    for parts in found:
        print("  ".join(f"{parts[name]:8.2f}" for name in names))
    if found:
        print(f"rest: median {statistics.median(parts['rest'] for parts in found):.2f} s an iteration")
    shares = limits_used(records)
    if shares:
        low, middle = min(shares), statistics.median(shares)
        print(f"time limit: {len(shares)} trainings to fill it used {low:.0%} at least, {middle:.0%} in the median")
    if arguments.cells:
        sandbox = choose("auto")
        wall, used = cell_starts(sandbox, arguments.cells)
        print(f"a cell, {sandbox.tier.name}: {wall:.2f} s, {used:.2f} s of processor time on the whole machine")


if __name__ == "__main__":
    main()
