"""Starts processes without end (here: 300)."""

import json
import os
import time

EXPECT = {"naive": "through", "T0": "processes", "T1": "denied", "T3": "processes"}

started = 0
for _ in range(300):
    try:
        if os.fork() == 0:
            time.sleep(4)
            os._exit(0)
    except OSError:
        break
    started += 1
time.sleep(1.5)
print(json.dumps({"through": started == 300, "started": started}), flush=True)
os._exit(0)
