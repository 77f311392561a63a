"""Starts a thousand threads in one process."""

import json
import threading
import time

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}
AS_ROOT = {"T0": "processes"}  # whose threads the kernel does not count: the watchdog does

threading.stack_size(64 * 1024)
done = threading.Event()
started = 0
for _ in range(1000):
    try:
        threading.Thread(target=done.wait, args=(8,), daemon=True).start()
    except RuntimeError:
        break
    started += 1
time.sleep(1.5)
print(json.dumps({"through": started == 1000, "started": started}), flush=True)
done.set()
