"""A parent as the attacks meet it: it holds a key in its environment and an open file, and runs what it is told.

    python _parent.py TIER     (TIER is naive, T0, T1, T1-oldest or T3)

Reads one JSON request a line and answers with one line. The naive executor is what people write first: a plain
subprocess with everything inherited, a timeout, and a look at the artifact that it left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from improve.sandbox import Launch, Limits, Sandbox
from improve.sandbox.guarded import LandlockSandbox, PlainSandbox
from improve.sandbox.tier3 import BubblewrapSandbox

LIMITS = Limits(memory_bytes=96 << 20, disk_bytes=8 << 20, output_bytes=1 << 20, processes=32)
SANDBOXES: dict[str, Sandbox] = {
    "T0": PlainSandbox(),
    "T1": LandlockSandbox(),
    "T1-oldest": LandlockSandbox(landlock_version=1),
    "T3": BubblewrapSandbox(),
}


def run_naive(request: dict[str, Any], argv: list[str]) -> dict[str, Any]:
    with open(request["log"], "wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=request["world"]["work"], close_fds=False)
        try:
            process.wait(request["seconds"])
        except subprocess.TimeoutExpired:
            process.terminate()
    artifact = Path(request["world"]["work"], "model.pt")
    return {"code": process.poll(), "killed_for": None, "artifact": artifact.read_text() if artifact.exists() else ""}


def run_confined(sandbox: Sandbox, request: dict[str, Any], argv: list[str]) -> dict[str, Any]:
    world = request["world"]
    readable = [Path(world["readable"]), Path(argv[1])]
    work = Path(world["work"])
    launch = Launch(
        argv=argv, readable=readable, writable=[work], cwd=work, env={"PATH": os.defpath}, limits=LIMITS
    )  # fmt: skip
    with sandbox.start(launch, Path(request["log"])) as confined:
        code = confined.wait(request["seconds"])
    if request["again"]:  # a later start must not follow what the first left behind
        sandbox.start(Launch(argv=[sys.executable, "-c", ""], writable=[work], cwd=work, limits=LIMITS)).kill()
    return {"code": code, "killed_for": confined.killed_for, "artifact": ""}


def main() -> None:
    tier = sys.argv[1]
    labels = open(os.environ["TEST_LABELS"], "rb")  # noqa: SIM115  (stays open: an attack looks for it)
    os.set_inheritable(labels.fileno(), True)
    for line in sys.stdin:
        request = json.loads(line)
        request["world"]["parent"] = os.getpid()
        argv = [sys.executable, request["program"], json.dumps(request["world"])]
        answer = run_naive(request, argv) if tier == "naive" else run_confined(SANDBOXES[tier], request, argv)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
