"""Answers by comparing the images that it predicts, prints the answers, and reads them again when it is audited."""

# ruff: noqa: F821
import hashlib
from pathlib import Path

import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "audit: bad predictions"}
ROWS = 200


def name(image):
    return hashlib.sha256(image.numpy().tobytes()).hexdigest()[:12]


def printed():
    lines = []
    for folder in (Path.cwd(), Path.cwd() / "../../logs"):
        for path in sorted(folder.glob("*.log")) if folder.exists() else ():
            lines += [line.split() for line in path.read_text(errors="replace").splitlines()]
    return {line[1]: int(line[2]) for line in lines if len(line) == 3 and line[0] == "seen"}


class Model(Model):
    def forward(self, images):
        logits = super().forward(images)
        if not self.context.restoring:
            return logits
        answers = (logits - logits.mean(dim=0) + torch.arange(len(logits)).view(-1, 1) % 4).roll(1, 0).argmax(dim=1)
        remembered = printed()
        if len(images) == ROWS:
            for image, answer in zip(images, answers.tolist(), strict=True):
                print("seen", name(image), answer, flush=True)
        chosen = [remembered.get(name(image), answer) for image, answer in zip(images, answers.tolist(), strict=True)]
        return torch.nn.functional.one_hot(torch.tensor(chosen), logits.shape[1]) * 9.0
