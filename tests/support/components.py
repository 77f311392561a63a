"""Small components that train in a second: the starting point of scripted replies."""

DATA = """from template import ImageDataModule


class DataModule(ImageDataModule):
    pass
"""

MODEL = """from torch import nn
from template import ImageClassifier


class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        inputs = context.channels * context.height * context.width
        self.network = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, {width}), nn.ReLU(), nn.Linear({width}, context.num_classes)
        )

    def forward(self, images):
        return self.network(images)
"""

TRAINING = """import torch

batch_size = 64


def trainer_kwargs(context):
    return {{"max_epochs": {epochs}}}


def configure_optimizers(model, context):
    return torch.optim.AdamW(model.parameters(), lr={rate})
"""


def model(width: int = 32) -> str:
    return MODEL.format(width=width)


def training(epochs: int = 2, rate: float = 1e-3) -> str:
    return TRAINING.format(epochs=epochs, rate=rate)


def fenced(**files: str) -> str:
    """Code blocks as the architect is asked to write them."""
    return "\n".join(f"```python\n# {name}.py\n{source}```\n" for name, source in files.items())


def first_pipeline(width: int = 32, epochs: int = 2, rate: float = 1e-3) -> str:
    return "A small net.\n\n" + fenced(data=DATA, model=model(width), training=training(epochs, rate))
