"""Kills the process above it, so that nobody cleans up, with a daemon already started."""

import json
import os
import signal
import sys
import time

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(30)
    os._exit(0)
os.wait()
above = os.getppid()
if above > 1:
    for attempt in (lambda: os.kill(above, signal.SIGKILL), lambda: os.killpg(os.getpgid(above), signal.SIGKILL)):
        try:
            attempt()
        except OSError:
            continue
print(json.dumps({"through": None}))
sys.stdout.flush()
time.sleep(0.3)
