"""Sends a pickle that makes a folder when it is loaded, exactly as long as the predictions would be."""

# ruff: noqa: F821
import fcntl
import os
import pickle
import stat
import sys

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}
ROWS, CLASSES = 200, 4


class Evil:
    def __reduce__(self):
        return os.mkdir, ("a-pickle-ran",)


def data_pipe():
    for number in range(3, 64):
        try:
            writes = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
        except OSError:
            continue
        if writes and number != int([*sys.argv, "3"][1]) and stat.S_ISFIFO(os.fstat(number).st_mode):
            return number
    raise RuntimeError("no data pipe")


class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            os.write(data_pipe(), pickle.dumps(Evil()).ljust(ROWS * CLASSES * 4, b"\0"))
            os._exit(0)
        return super().forward(images)
