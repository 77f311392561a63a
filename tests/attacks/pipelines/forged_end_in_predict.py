"""Says that the prediction has ended well when a tenth of it is done."""

# ruff: noqa: F821
import os
import sys
import time

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}
HANGS = True


class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            status = int([*sys.argv, "3"][1])
            os.write(status, b'{"event": "score", "accuracy": 1.0}\n{"event": "end", "exit": 0, "signal": 0}\n')
            time.sleep(600)
        return super().forward(images)
