"""Looks for the parent's API key: in its own environment and in that of every process."""

import json
import os
import sys
from pathlib import Path

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
found = json.dumps(dict(os.environ))
for name in [*map(str, range(1, 100)), "self", str(world["parent"]), str(os.getppid())]:
    try:
        found += Path(f"/proc/{name}/environ").read_text(errors="replace")
    except OSError:
        continue
print(json.dumps({"through": world["token"] in found}))
