"""Reports epochs that never were: perfect, absurd, and by the ten thousand."""

# ruff: noqa: F821
import os
import sys

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}
ROWS = (
    '{"event": "epoch", "epoch": NaN, "of": NaN, "train_loss": Infinity, "validation_accuracy": NaN}',
    '{"event": "epoch", "epoch": 1e999, "of": 1e999, "train_loss": -1e999}',
    '{"event": "epoch", "epoch": 1%s, "of": 1%s, "train_loss": 1%s}' % (("0" * 400,) * 3),
    '{"event": "epoch", "epoch": "\\u001b[2J", "of": "\\u001b[2J", "validation_accuracy": "1.0"}',
    '{"event": "epoch", "epoch": [[[]]], "of": {}, "train_accuracy": true, "validation_accuracy": 7}',
    '{"event": "plan", "steps_that_fit": 1%s, "step_seconds": 1%s}' % (("0" * 4000,) * 2),
    '{"event": "plan", "steps": NaN, "steps_that_fit": -1, "step_seconds": NaN, "steps_per_epoch": 0}',
    '{"event": "plan", "steps": true, "steps_per_epoch": "1", "batch_size": [1], "step_seconds": -1e999}',
    '{"event": ["epoch"]}',
    '{"event": null}',
    "[" * 100_000,
    "[" * 900,
    '"epoch"',
    "null",
    "\x00\xff",
)
PERFECT = '{"event": "epoch", "epoch": 1, "of": 1, "train_accuracy": 1.0, "validation_accuracy": 1.0}\n'


class Model(Model):
    def on_fit_end(self):
        status = int([*sys.argv, "3"][1])
        for data in ("\n".join(ROWS) + "\n", PERFECT * 20_000):
            data = data.encode("latin-1")
            while data:
                data = data[os.write(status, data) :]
