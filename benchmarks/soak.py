"""A long run against a server that plays faults at random, of a team that attacks half of the time.

    python -m benchmarks.soak [--iterations 40] [--seed 0] [--memory FILE]

The attacks are those of tests/attacks/pipelines, each the model engineer's reply. Said at the end, and found wrong by
exit code 1: whether each iteration has a verdict, whether a process, a mount, a file in shared memory or a temporary
file is left, how the memory of the parent grew, and what `improve verify` finds. `--memory` takes a table of the number
of verdicts and MiB of the parent's resident memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from improve.record.history import History
from improve.record.journal import JOURNAL
from improve.sandbox import remove
from tests.support import components
from tests.support.paths import ATTACKS, ROOT
from tests.support.scripted_llm import Answer, Asked, completion, error, role_of, serving

FAULTS = 0.25  # share of requests that meet a fault
SMALL = (
    "dataset=digits", "dataset.train=300", "dataset.selection=200", "dataset.test=200", "executor.fit_seconds=4",
    "executor.predict_seconds=4", "llm=local", "llm.timeout_seconds=1", "llm.retry_wait_seconds=0.01",
    "strategy.repairs=1", "display=none",
)  # fmt: skip
WARM = 5  # iterations after which the parent has all in memory that it needs
FLAT = 1.1  # … and what it may have at its end, as a share of that
MIB = 1 << 20


class Provider:
    """The server's script. Faults, attacks and changes are drawn by `seed`."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        names = sorted(path.stem for path in (ATTACKS / "pipelines").glob("[a-z]*.py"))
        self._attacks = self._chance.sample(names, len(names))
        self.faults: Counter[str] = Counter()
        self.attacks: list[str] = []
        self._lock = threading.Lock()  # the server answers each request in a thread of its own

    def script(self, asked: Asked) -> str | Answer:
        with self._lock:
            if self._chance.random() < FAULTS:
                name = self._chance.choice(sorted(PLAYED))
                self.faults[name] += 1
                return PLAYED[name]()
            return self._reply(*asked.prompt)

    def _reply(self, system: str, user: str) -> str:
        role = role_of(system)
        if role == "Project Architect":
            return components.first_pipeline(width=16, epochs=1)
        if role == "Performance Analyst":
            return self._advice()
        if role == "Model Engineer":
            name = user.rpartition("[attack ")[2].partition("]")[0]
            source = (ATTACKS / "pipelines" / f"{name}.py").read_text() if f"[attack {name}]" in user else ""
            return components.fenced(model=f"{components.model(width=16)}\n\n{source}")
        if role == "Training Engineer":
            epochs, rate = self._chance.randint(1, 8), 10 ** self._chance.uniform(-4, -2)
            return components.fenced(training=components.training(epochs=epochs, rate=rate))
        return "It did what was asked."

    def _advice(self) -> str:
        if self._chance.random() < 0.5 and self._attacks:
            self.attacks.append(self._attacks.pop())
            return json.dumps({"component": "model", "diagnosis": "", "feedback": f"[attack {self.attacks[-1]}] do it"})
        return json.dumps({"component": "training", "diagnosis": "", "feedback": f"try {self._chance.random()}"})


PLAYED: dict[str, Callable[[], Answer]] = {
    "429": lambda: error(429, "slow down", retry_after="0"),
    "500": lambda: error(500, "the server had an error"),
    "503": lambda: error(503, "unavailable"),
    "reset": lambda: Answer(reset=True),
    "stalls": lambda: Answer(completion("late").body, stall=1.5),
    "no JSON": lambda: Answer(b'{"choices": [{"message": {"content": "half'),
    "a web page": lambda: Answer(b"<html>down</html>", headers={"Content-Type": "text/html"}),
    "cut off": lambda: completion("```python\nimport tor", finish_reason="length"),
    "empty": lambda: completion(""),
    "nonsense": lambda: completion("Here you are."),
    "NUL and half a pair": lambda: completion("\0 \ud83d"),
    "10 MB": lambda: completion("x" * 10_000_000),
}


@dataclass
class Watched:
    """The parent's resident memory in MiB, by the number of iterations that had a verdict."""

    process: subprocess.Popen[bytes]
    journal: Path
    memory: dict[int, float] = field(default_factory=dict)

    def follow(self) -> int:
        """Until it has ended; gives its exit code."""
        parent = psutil.Process(self.process.pid)
        while True:
            try:
                code = self.process.wait(0.3)
            except subprocess.TimeoutExpired:
                done = self.journal.read_text().count('"kind": "verdict"') if self.journal.exists() else 0
                if resident := parent.memory_info().rss / MIB:  # 0 while it ends
                    self.memory[done] = resident
                continue
            return code


def left_over(base: Path, before: tuple[set[str], set[str]]) -> list[str]:
    """What the run has left outside of its folder and the cache."""
    found = [f"process {pid}" for pid in psutil.pids() if str(base) in _of(pid, "cmdline") + _of(pid, "environ")]
    found += [f"mount {line}" for line in _mounts() - before[0] if str(base) in line]
    found += [f"/dev/shm/{name}" for name in set(os.listdir("/dev/shm")) - before[1] if not _held(name)]
    found += [str(path) for path in (base / "tmp").iterdir()]
    history = History.read(base / "run")
    tested = (history.first_test, history.best_test)  # whose weights are kept
    kept = [f"{test['iteration']:03d}" for test in tested if test]
    found += [str(path) for path in (base / "run/work").glob("*") if path.name[:3] not in kept]
    return found + [str(path) for path in (base / "run/cells").glob("*")]


def _mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def _of(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _held(name: str) -> bool:
    """Whether another program of this machine has it in memory: then it is not ours."""
    return any(f"/dev/shm/{name}" in _of(pid, "maps") for pid in psutil.pids())


def soak(iterations: int, seed: int, base: Path) -> tuple[list[str], dict[int, float]]:
    """Carry it out; what is wrong, and the parent's memory."""
    (base / "tmp").mkdir()
    provider, before = Provider(seed), (_mounts(), set(os.listdir("/dev/shm")))
    env = {**os.environ, "TMPDIR": str(base / "tmp"), "IMPROVE_CACHE": str(base / "cache")}
    with serving(provider.script) as server, open(base / "said", "wb") as said:
        asked = (f"llm.api_base={server.base}", f"strategy.iterations={iterations}", f"run_dir={base / 'run'}")
        process = subprocess.Popen(
            [sys.executable, "-m", "improve.run", *SMALL, *asked], cwd=ROOT, env=env, stdout=said, stderr=said
        )
        watched = Watched(process, base / "run" / JOURNAL)
        code = watched.follow()
    wrong = [] if code == 0 else [f"exit code {code}: {(base / 'said').read_text()[-2000:]}"]
    history = History.read(base / "run")
    without = [str(one.number) for one in history.iterations if one.verdict is None]
    wrong += [f"no verdict on iteration {', '.join(without)}"] if without else []
    wrong += [] if len(history.iterations) == iterations + 1 else [f"{len(history.iterations)} iterations"]
    wrong += [f"left: {what}" for what in left_over(base, before)]
    memory = watched.memory
    warm, last = max(memory.get(n, 0) for n in range(min(WARM, iterations) + 1)), memory[max(memory)]
    wrong += [f"memory grew from {warm:.0f} to {last:.0f} MiB"] if last > FLAT * warm else []
    verified = subprocess.run(
        [sys.executable, "-m", "improve.cli", "verify", str(base / "run")],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    summary = next((line for line in verified.stdout.splitlines() if " hold, " in line), verified.stderr)
    wrong += [] if verified.returncode == 0 and "0 could not" in summary else [f"verify: {verified.stdout}"]
    verdicts = Counter(one.verdict["verdict"] for one in history.iterations if one.verdict)
    print(f"{len(history.iterations)} iterations, {sum(verdicts.values())} verdicts: {dict(verdicts)}")
    print(
        f"{len(server.asked)} requests, {sum(provider.faults.values())} faults: {dict(sorted(provider.faults.items()))}"
    )
    print(f"{len(provider.attacks)} attacks: {' '.join(provider.attacks)}")
    print(f"memory of the parent: {warm:.0f} MiB at most until iteration {WARM}, {last:.0f} MiB at its end")
    print(f"improve verify: {summary}")
    return wrong, memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=Path)
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="soak-"))
    wrong, memory = soak(arguments.iterations, arguments.seed, base)
    if arguments.memory:
        with open(arguments.memory, "w", newline="") as file:
            csv.writer(file).writerows([("verdicts", "mib"), *((n, f"{m:.1f}") for n, m in sorted(memory.items()))])
    print("\n".join(f"WRONG  {line}" for line in wrong) or "nothing is wrong, nothing is left")
    if not wrong:
        remove(base)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
