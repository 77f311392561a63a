from template import ImageClassifier, pretrained_backbone
from torch import nn


class Model(ImageClassifier):
    frozen = 1.0
    probe = True
    views = "mirrored"

    def __init__(self, context):
        super().__init__(context)
        self.backbone = pretrained_backbone(context, "tf_efficientnet_lite0")
        self.head = nn.Linear(self.backbone.num_features, context.num_classes)

    def forward(self, images):
        return self.head(self.backbone(images))
