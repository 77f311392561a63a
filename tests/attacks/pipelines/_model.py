from template import ImageClassifier
from torch import nn


class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, images):
        return self.network(images)
