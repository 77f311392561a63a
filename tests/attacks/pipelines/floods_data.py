"""Writes to the data pipe without end."""

# ruff: noqa: F821
import fcntl
import os
import stat
import sys

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}


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
            while True:
                os.write(data_pipe(), b"\0\0\x80\x3f" * 16_384)
        return super().forward(images)
