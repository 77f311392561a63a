from template import ImageDataModule


class DataModule(ImageDataModule):
    flip = True
