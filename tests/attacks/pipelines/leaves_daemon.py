"""Leaves a daemon that holds every pipe open and goes on reporting perfect epochs."""

# ruff: noqa: F821
import os
import sys
import time

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}
HANGS = True
PERFECT = b'{"event": "epoch", "epoch": 1, "of": 1, "validation_accuracy": 1.0}\n'


class Model(Model):
    def on_fit_end(self):
        if os.fork():
            return
        os.setsid()
        if os.fork() == 0:
            for _ in range(600):
                os.write(int([*sys.argv, "3"][1]), PERFECT)
                time.sleep(0.1)
        os._exit(0)
