from template import ImageClassifier, pretrained_backbone
from torch import nn


class Model(ImageClassifier):
    label_smoothing = 0.1
    views = "mirrored"

    def __init__(self, context):
        super().__init__(context)
        self.backbone = pretrained_backbone(context, "tf_efficientnet_lite0")
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(self.backbone.num_features, context.num_classes)

    def frozen(self, progress):
        return 0.8 if progress < 0.2 else 0.4

    def forward(self, images):
        return self.head(self.drop(self.backbone(images)))
