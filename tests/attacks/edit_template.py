"""Edits the read-only template that the next run will use: overwrites, empties, replaces."""

import json
import os
import sys
from pathlib import Path

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
path = world["template"]
attempts = (
    lambda: os.chmod(path, 0o666),
    lambda: Path(path).write_text("evil"),
    lambda: os.truncate(path, 0),
    lambda: os.close(os.open(path, os.O_RDONLY | os.O_TRUNC)),
    lambda: os.unlink(path),
    lambda: os.rename(path, os.path.join(world["work"], "template.py")),
    lambda: Path(path).with_name("added.py").write_text("evil"),
)
for attempt in attempts:
    try:
        attempt()
    except OSError:
        continue
print(json.dumps({"through": None}))
