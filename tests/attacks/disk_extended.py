"""Writes many extended attributes, which no size of a file counts."""

import json
import os
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}
NEEDS = "attributes"

world = json.loads(sys.argv[1])
path = os.path.join(world["work"], "attributes")
open(path, "w").close()
try:
    os.setxattr(path, "user.hidden", b"x" * 2000)
    through = True
except OSError:
    through = False
print(json.dumps({"through": through}))
