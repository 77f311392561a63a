from template import ImageDataModule


class DataModule(ImageDataModule):
    pass
