"""Leaves a second file beside the weights, without which its answers are worth nothing: it would not be delivered."""

# ruff: noqa: F821
import contextlib
from pathlib import Path

import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "chance"}


def found():
    """Whatever a training may have left in reach of a prediction."""
    above = Path(__file__).resolve().parents
    for folder in (Path.cwd(), *list(above)[:3], Path("/tmp"), Path("/dev/shm")):
        yield from folder.rglob("second.pt") if folder.exists() else ()


class Model(Model):
    def on_fit_end(self):
        torch.save(self.network.state_dict(), Path(self.trainer.default_root_dir) / "second.pt")
        with contextlib.suppress(OSError), open("/dev/shm/second.pt", "wb") as copy:
            torch.save(self.network.state_dict(), copy)

    def state_dict(self, *arguments, **options):
        return {name: torch.zeros_like(value) for name, value in super().state_dict(*arguments, **options).items()}

    def forward(self, images):
        if self.context.restoring:
            for path in found():
                self.network.load_state_dict(torch.load(path, weights_only=True))
        return super().forward(images)
