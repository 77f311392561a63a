"""Libraries that a training never uses are not imported with those that it does, and can still be imported."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import TEMPLATE

PROGRAM = """
import importlib.util, sys
import unused
with unused.left_out():
    # As torchmetrics asks where the library's metadata are not in sight.
    assert importlib.util.find_spec("matplotlib")
    import timm, torchmetrics, pytorch_lightning
out = ("wandb", "matplotlib")
print([name for name in sys.modules if name.partition(".")[0] in out or name.startswith("scipy.signal")])
import matplotlib.pyplot, scipy.signal
matplotlib.pyplot.figure()
print(len(scipy.signal.get_window("hann", 8)))
"""


def test_they_are_left_out_and_stay_importable() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=TEMPLATE, timeout=120)
    assert done.stdout.split("\n") == ["[]", "8", ""], done.stderr
    assert done.stderr == ""
