"""`python -m benchmarks.bank make` goes on making the bank, `… status` says how far it is, `… summary` what it says."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    # Before NumPy is imported: a process that forks must have one thread.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    from benchmarks.bank.grid import TASKS
    from benchmarks.bank.make import HERE, Bank, left, make
    from benchmarks.bank.summary import summary

    parser = argparse.ArgumentParser(prog="python -m benchmarks.bank", description=__doc__)
    parser.add_argument("command", choices=("make", "status", "summary"))
    names = [task.name for task in TASKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="data sets (default: all)")
    parser.add_argument("--cores", type=int, default=1, help="trainings at once (default: 1)")
    parser.add_argument("--raw", type=Path, default=Path("bank-images"), help="folder of raw images")
    parser.add_argument("--cache", type=Path, default=Path("bank-cache"), help="folder for prepared images")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the bank (default: the one that is shipped)")
    given = parser.parse_args()
    bank = Bank(given.out, given.raw, given.cache, [task for task in TASKS if task.name in given.only])
    if given.command == "summary":
        print(summary(bank.folder))
        return
    if given.command == "make":
        make(bank, given.cores)
    for task, jobs in zip(bank.tasks, left(bank), strict=True):
        print(f"{task.name}: {len(bank.done(task))} trainings made, {len(jobs)} left")


if __name__ == "__main__":
    main()
