"""Lists the user's own folder, whose sub-folders are named after the classes."""

import json
import os
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
try:
    names = os.listdir(world["dataset"])
except OSError:
    names = []
print(json.dumps({"through": bool(names), "found": names}))
