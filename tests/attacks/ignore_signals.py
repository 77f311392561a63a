"""Ignores every signal that can be ignored, and hangs."""

import json
import signal
import time

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}
HANGS = True

for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        continue
print(json.dumps({"through": None}), flush=True)
time.sleep(30)
