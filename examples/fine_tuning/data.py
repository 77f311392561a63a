from augment import RandomShift
from template import ImageDataModule
from torch.nn.functional import interpolate


class DataModule(ImageDataModule):
    flip = True

    def __init__(self, context):
        super().__init__(context)
        self.shift = RandomShift(max(1, context.height // 16))

    def batch_transform(self, images, targets):
        share = min(1.0, 0.75 + 0.5 * self.progress)  # of the side, full from the middle on
        if share < 1:
            size = [max(8, round(share * side / 8) * 8) for side in images.shape[2:]]
            images = interpolate(images, size, mode="bilinear", antialias=True)
        return self.shift(images), targets
