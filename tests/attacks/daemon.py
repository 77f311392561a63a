"""Leaves a daemon behind: forked twice, in a session of its own, holding the output pipe."""

import json
import os
import sys
import time

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(30)
    os._exit(0)
os.wait()
print(json.dumps({"through": None}))
sys.stdout.flush()
