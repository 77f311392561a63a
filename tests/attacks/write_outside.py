"""Writes a file outside its folder, removes one, and renames one in."""

import contextlib
import json
import os
import sys
from pathlib import Path

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
attempts = (
    lambda: Path(world["outside"]).write_text("written"),
    lambda: os.link(world["labels"], world["outside"]),
    lambda: os.rename(world["labels"], os.path.join(world["work"], "labels.csv")),
    lambda: os.mknod(world["outside"]),
)
for attempt in attempts:
    with contextlib.suppress(OSError):
        attempt()
# a private tree may take the file: judged by what is there outside
print(json.dumps({"through": None}))
