"""Changes a resource limit of the parent."""

import json
import resource
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
try:
    resource.prlimit(world["parent"], resource.RLIMIT_CORE, (0, 0))
    through = True
except OSError:
    through = False
print(json.dumps({"through": through}))
