"""Writes to the data pipe without end."""

# ruff: noqa: F821
import fcntl
import os
import stat
import sys

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}


def data_pipe():
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number != int([*sys.argv, "3"][1]) and os.path.exists(f"/proc/self/fd/{name}"):
            writes = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
            if writes and stat.S_ISFIFO(os.fstat(number).st_mode):
                return number
    raise RuntimeError("no data pipe")


class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            while True:
                os.write(data_pipe(), b"\0\0\x80\x3f" * 16_384)
        return super().forward(images)
