"""Leaves links out of its folder as artifacts, for a parent that follows them."""

import json
import os
import sys

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
os.symlink(world["labels"], os.path.join(world["work"], "model.pt"))
os.symlink(os.path.dirname(world["labels"]), os.path.join(world["work"], "checkpoints"))
print(json.dumps({"through": None}))
