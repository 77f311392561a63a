"""Says that the training has ended well before it has begun."""

# ruff: noqa: F821
import os
import sys
import time

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: crash"}
HANGS = True


class Model(Model):
    def on_fit_start(self):
        os.write(
            int([*sys.argv, "3"][1]), b'{"event": "score", "accuracy": 1.0}\n{"event": "end", "exit": 0, "signal": 0}\n'
        )
        time.sleep(600)
