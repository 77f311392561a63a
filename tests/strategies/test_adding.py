"""A strategy is one file and one YAML: a new one needs nothing else to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

FILE = '''
"""`strategy=twice`: the first pipeline is written twice, and nothing is refined."""

from improve.strategies.strategy import ALL, Candidate, Strategy, Workshop


class Twice(Strategy):
    name = "twice"
    fixed = {"iterations": 1}
    note = "writes the first pipeline twice."

    def candidate(self, workshop: Workshop, iteration: int) -> Candidate:
        return Candidate(ALL, workshop.first_pipeline(iteration))


STRATEGY = Twice()
'''
# The package finds its strategies in its folders: here in one more, as if the file lay beside the others.
PROGRAM = """
import sys
from pathlib import Path
import improve.strategies
improve.strategies.__path__.append(sys.argv[1])
from improve.config.compose import config_from
from improve.config.naming import run_name
from improve.session.opening import Order
config = config_from(["strategy=twice", "dataset=digits", "strategy.iterations=5"], Path(sys.argv[2]))
print(config.strategy.iterations, run_name(config).split("-")[1], Order.of(config).strategy.note)
"""


def test_a_new_strategy_is_its_file_and_its_option(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "twice.py").write_text(FILE)
    (tmp_path / "options" / "strategy").mkdir(parents=True)
    (tmp_path / "options" / "strategy" / "twice.yaml").write_text("name: twice\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "code"), str(tmp_path / "options")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "1 twice writes the first pipeline twice.\n", done.stderr
