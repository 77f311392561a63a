"""Do the report and `improve view` stand 1,000 runs? By hand: python benchmarks/growth.py OUTPUTS

The runs at or below OUTPUTS are real ones; 1,000 are made of them. Each is one of the real ones, drawn at random, with
another seed and start, and with all its scores drawn anew: as many of the images are right as a binomial draw of their
accuracy says. They go into studies of 100 runs. Each step is then a process of its own, whose seconds (of the clock and
of the processor) and highest memory (RSS) are printed.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from improve.record.journal import JOURNAL, Record, lines, read
from improve.record.runs import run_folders

STUDY = 100  # runs
GIB = 1024**2  # of ru_maxrss, which is in KiB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path, help="folder of real runs")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "outputs"
        sizes = resampled(run_folders([given.outputs]), made, given.runs, given.seed)
        table = Table(title=f"{given.runs} runs, {sum(sizes) / 1e6:.0f} MB of journals")
        for name in ("step", "seconds", "CPU-seconds", "GiB at most"):
            table.add_column(name, justify="left" if name == "step" else "right")
        for name, row in measured(made, Path(folder) / "report"):
            table.add_row(name, *(f"{value:.2f}" for value in row))
        Console().print(table)


def resampled(real: list[Path], made: Path, count: int, seed: int) -> list[int]:
    """Write the journals of made-up runs, and the files of one of them; gives the journals' bytes."""
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    records = {folder: read(folder / JOURNAL).records for folder in real}
    sizes = []
    for number in range(count):
        source = chance.choice(real)
        study = f"study{number // STUDY:02d}"
        target = made / study / f"{source.name}-{number:04d}"
        target.mkdir(parents=True)
        later = timedelta(minutes=number)
        text = "".join(
            lines([_redrawn(record, target.name, study, number, later, numbers) for record in records[source]])
        )
        (target / JOURNAL).write_text(text, encoding="utf-8")
        sizes.append(len(text))
        if number == count - 1:
            for part in ("candidates", "calls"):
                shutil.copytree(source / part, target / part)
    return sizes


def _redrawn(
    record: Record, name: str, study: str, seed: int, later: timedelta, numbers: np.random.Generator
) -> Record:
    data: dict[str, Any] = json.loads(json.dumps(record.data))
    if record.kind == "run":
        data |= {"name": name, "study": study}
        data["config"] |= {"seed": seed, "study": study}
    if record.kind in ("score", "test") and not data["failure"]:
        data["correct"] = int(numbers.binomial(data["total"], data["accuracy"]))
        data["accuracy"] = data["correct"] / data["total"]
    at = (datetime.fromisoformat(record.at) + later).isoformat(timespec="milliseconds")
    return Record(record.key, record.kind, data, at, record.seconds)


def measured(made: Path, out: Path) -> list[tuple[str, tuple[float, float, float]]]:
    improve = [sys.executable, "-m", "improve.cli"]
    one = next((made / "study00").iterdir())
    rows = [
        ("report on all runs", _spent([*improve, "report", str(made), "-o", str(out)])),
        ("report on a study of 100", _spent([*improve, "report", str(made / "study00")])),
        ("page of one run", _spent([*improve, "report", str(one)])),
    ]
    return rows + _viewed([*improve, "view", str(made), "--port", "0"], one)


def _spent(command: list[str]) -> tuple[float, float, float]:
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / GIB


def _viewed(command: list[str], one: Path) -> list[tuple[str, tuple[float, float, float]]]:
    """The server's answers: the first list reads all journals, those that follow read what has changed."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split(" at ")[1].split(" ")[0]
    study = one.parent.name
    rows = []
    for name, path in (
        ("view: first list", ""), ("view: next list", ""), ("view: a study", f"study/{study}"),
        ("view: a run", f"run/{study}/{one.name}"),
    ):  # fmt: skip
        began, before = time.monotonic(), _used(process.pid)
        with urllib.request.urlopen(url + path, timeout=600) as answer:
            answer.read()
        used = _used(process.pid)
        rows.append((name, (time.monotonic() - began, used[0] - before[0], used[1])))
    process.terminate()
    process.wait()
    return rows


def _used(pid: int) -> tuple[float, float]:
    """CPU-seconds so far and the highest memory in GiB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / GIB


if __name__ == "__main__":
    main()
