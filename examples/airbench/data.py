from augment import Chain, RandomShift
from template import ImageDataModule


class DataModule(ImageDataModule):
    flip = True

    def __init__(self, context):
        super().__init__(context)
        self.augment = Chain(RandomShift(2))

    def batch_transform(self, images, targets):
        return self.augment(images, targets)
