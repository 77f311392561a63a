"""What a run asks of a cluster, measured: python -m benchmarks.scale_figures [--iterations N]

Two runs of the rule-based expert on digits, of N iterations and of none, each in a process of its own. Printed are the
differences an iteration, and what a run costs that has none: seconds of the processor of the run's own process (not
those of trainings, which are processes of their own), records and bytes of the journal, files and bytes of the folder,
and the files that its start reads from the environment. `benchmarks/scale.py` has the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from improve.record.journal import JOURNAL, read

INSIDE = """
import json, os, resource, sys
from improve.run import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
files = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
files |= {line.split()[-1] for line in open("/proc/self/maps") if line.rstrip().endswith(".so") or ".so." in line}
sizes = [os.stat(file).st_size for file in files if os.path.isfile(file)]
print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024, "start_files": len(sizes),
                  "start_mb": sum(sizes) / 1e6, "code": code}))
"""


def measured(iterations: int, cache: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as outputs:
        given = [
            "dataset=digits", "executor.steps=60", "executor.threads=1", "finish=single", "acceptance=paired",
            f"strategy.iterations={iterations}", f"outputs={outputs}", "display=none",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", INSIDE, *given],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "IMPROVE_CACHE": cache},
        )
        (run,) = Path(outputs).glob("*/")
        sizes = [file.stat().st_size for file in run.rglob("*") if file.is_file() and not file.is_symlink()]
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return {
            **found,
            "records": len(read(run / JOURNAL).records),
            "journal_bytes": (run / JOURNAL).stat().st_size,
            "files": len(sizes),
            "mb": sum(sizes) / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        measured(0, cache)  # prepares the images
        none, some = measured(0, cache), measured(given.iterations, cache)
    print(f"{'':16}{'none':>12}{'an iteration':>14}")
    for name in ("cpu", "mib", "records", "journal_bytes", "files", "mb", "start_files", "start_mb"):
        print(f"{name:16}{none[name]:12.2f}{(some[name] - none[name]) / given.iterations:14.3f}")


if __name__ == "__main__":
    main()
