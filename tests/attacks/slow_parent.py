"""Slows the parent down: a lower priority, or one processor for all that it does."""

import json
import os
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}
AS_ROOT = {"T0": "denied"}  # the parent has capabilities that the program has given up

world = json.loads(sys.argv[1])
parent = world["parent"]
through = False
for change, arguments in (
    (os.setpriority, (os.PRIO_PROCESS, parent, 1)),
    (os.sched_setaffinity, (parent, os.sched_getaffinity(0))),
):
    try:
        change(*arguments)
        through = True
    except OSError:
        continue
print(json.dumps({"through": through}))
