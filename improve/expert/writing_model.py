"""A model recipe as a readable `model.py`: the network is spelt out, so that its owner can change it by hand."""

from __future__ import annotations

from improve.expert.recipe import ModelRecipe, comment


def write_model(recipe: ModelRecipe) -> str:
    """The source. It works for any image size, number of channels and number of classes."""
    writers = {"plain": _plain, "residual": _residual, "timm": _timm, "pretrained": _pretrained}
    return writers[recipe.family](recipe)


def _file(summary: str, recipe: ModelRecipe, imports: list[str], code: list[str]) -> str:
    return "\n".join([f'"""{summary}"""', "", comment(recipe), *imports, "", "", *code]) + "\n"


def _class(recipe: ModelRecipe) -> list[str]:
    """The first lines of the model's class."""
    smoothing = [f"    label_smoothing = {recipe.label_smoothing:.4g}", ""] if recipe.label_smoothing else []
    return [
        "class Model(ImageClassifier):",
        *smoothing,
        "    def __init__(self, context):",
        "        super().__init__(context)",
    ]


def _classifier(recipe: ModelRecipe, features: str) -> list[str]:
    dropout = [f"            nn.Dropout({recipe.dropout:.4g}),"] if recipe.dropout else []
    return [
        "            nn.AdaptiveAvgPool2d(1),",
        "            nn.Flatten(),",
        *dropout,
        f"            nn.Linear({features}, context.num_classes),",
    ]


def _forward(recipe: ModelRecipe, network: str = "self.network(%s)") -> list[str]:
    """The end of the constructor, and `forward`."""
    lines = [
        "        # This layout of the memory is the faster one for convolutions, on CPUs too.",
        "        self.to(memory_format=torch.channels_last)",
        "",
        "    def forward(self, images):",
    ]
    channels_last = "images.to(memory_format=torch.channels_last)"
    if not recipe.views:
        return [*lines, f"        return {network % channels_last}"]
    views = {
        "shifted": [
            "        # A new image is looked at from four places, a pixel apart: the mean is steadier than one answer.",
            "        views = [images.roll((down, right), (2, 3)) for down in (0, 1) for right in (0, 1)]",
        ],
        "mirrored": [
            "        # A new image is looked at as it is and mirrored: the mean is steadier than one answer.",
            "        views = [images, images.flip(3)]",
        ],
    }
    return [
        *lines,
        f"        images = {channels_last}",
        "        if self.training:",
        f"            return {network % 'images'}",
        *views[recipe.views],
        f"        return torch.stack([{network % 'view'} for view in views]).mean(dim=0)",
    ]


def _plain(recipe: ModelRecipe) -> str:
    layers = []
    inside = "context.channels"
    for stage, width in enumerate(recipe.widths):
        if stage:
            layers.append("            nn.MaxPool2d(2, ceil_mode=True),")
        for block in range(max(1, recipe.depth(stage))):
            stride = recipe.stem if stage == block == 0 else 1
            layers.append(f"            *convolution({inside}, {width}{f', stride={stride}' if stride > 1 else ''}),")
            inside = str(width)
    code = [
        "def convolution(inputs, outputs, stride=1):",
        "    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()",
        "",
        "",
        *_class(recipe),
        "        self.network = nn.Sequential(",
        *layers,
        *_classifier(recipe, inside),
        "        )",
        *_forward(recipe),
    ]
    summary = f"A plain convolutional network with {len(recipe.widths)} stages."
    imports = ["import torch", "from template import ImageClassifier", "from torch import nn"]
    return _file(summary, recipe, imports, code)


RESIDUAL = '''class Residual(nn.Module):
    """Two convolutions around which the input is carried on, so that deep networks learn as fast as flat ones."""

    def __init__(self, inputs, outputs, stride=1{parameter}):
        super().__init__()
        self.change = nn.Sequential(
            *convolution(inputs, outputs, stride=stride), nn.ReLU(), *convolution(outputs, outputs)
        )
        carry = [] if inputs == outputs else [*convolution(inputs, outputs, size=1)]
        if stride > 1:
            # Averaging keeps what a strided 1 × 1 convolution would skip (ResNet-D).
            carry.insert(0, nn.AvgPool2d(stride, ceil_mode=True))
        self.carry = nn.Sequential(*carry){drop}

    def forward(self, images):
        return torch.relu(self.carry(images) + {change})'''


def _residual(recipe: ModelRecipe) -> str:
    size, shrinking = (4, "each 4 × 4 patch becomes one pixel") if recipe.stem == 4 else (3, "")
    stride = f", stride={recipe.stem}" if recipe.stem > 1 else ""
    kernel = f", size={size}" if size != 3 else ""
    note = f"  # {shrinking}" if shrinking else ""
    layers = [f"            *convolution(context.channels, {recipe.widths[0]}{kernel}{stride}),{note}"]
    layers.append("            nn.ReLU(),")
    inside = recipe.widths[0]
    total = sum(recipe.depth(stage) for stage in range(len(recipe.widths)))
    done = 0
    for stage, width in enumerate(recipe.widths):
        for block in range(recipe.depth(stage)):
            done += 1
            stride = ", stride=2" if stage and block == 0 else ""
            # Later blocks are skipped more often: early ones are needed by everything behind them.
            drop = f", drop_path={recipe.drop_path * done / total:.3g}" if recipe.drop_path else ""
            layers.append(f"            Residual({inside}, {width}{stride}{drop}),")
            inside = width
    code = [
        "def convolution(inputs, outputs, size=3, stride=1):",
        "    padding = 0 if size == stride else size // 2",
        "    return nn.Conv2d(inputs, outputs, size, stride, padding, bias=False), nn.BatchNorm2d(outputs)",
        "",
        "",
        RESIDUAL.format(
            parameter=", drop_path=0.0" if recipe.drop_path else "",
            drop="\n        self.drop_path = DropPath(drop_path)" if recipe.drop_path else "",
            change="self.drop_path(self.change(images))" if recipe.drop_path else "self.change(images)",
        ),
        "",
        "",
        *_class(recipe),
        "        self.network = nn.Sequential(",
        *layers,
        *_classifier(recipe, str(inside)),
        "        )",
        *_forward(recipe),
    ]
    imports = ["import torch", "from template import ImageClassifier"]
    imports += ["from timm.layers import DropPath"] if recipe.drop_path else []
    summary = f"A small residual network: {total} blocks, {'-'.join(map(str, recipe.widths))} channels."
    return _file(summary, recipe, [*imports, "from torch import nn"], code)


def _timm(recipe: ModelRecipe) -> str:
    options = [f"drop_rate={recipe.dropout:.4g}"] if recipe.dropout else []
    options += [f"drop_path_rate={recipe.drop_path:.4g}"] if recipe.drop_path else []
    code = [
        *_class(recipe),
        "        self.network = timm.create_model(",
        f'            "{recipe.name}",',
        "            pretrained=False,",
        "            in_chans=context.channels,",
        "            num_classes=context.num_classes,",
        *(f"            {option}," for option in options),
        "        )",
        *_forward(recipe),
    ]
    imports = ["import timm", "import torch", "from template import ImageClassifier"]
    return _file(f"{recipe.name} of timm, trained from scratch.", recipe, imports, code)


def _pretrained(recipe: ModelRecipe) -> str:
    options = f", drop_path_rate={recipe.drop_path:.4g}" if recipe.drop_path else ""
    classifier = "nn.Linear(self.backbone.num_features, context.num_classes)"
    if recipe.dropout:
        classifier = f"nn.Sequential(nn.Dropout({recipe.dropout:.4g}), {classifier})"
    code = [
        *_class(recipe),
        f'        self.backbone = pretrained_backbone(context, "{recipe.name}"{options})',
        f"        self.classifier = {classifier}",
        # Early layers are good for all photos, and what need not learn costs no time either.
        *([f"        self.freeze({recipe.frozen:.4g})"] if recipe.frozen else []),
        *_forward(recipe, "self.classifier(self.backbone(%s))"),
        *_freezing(recipe),
    ]
    imports = ["import torch", "from template import ImageClassifier, pretrained_backbone", "from torch import nn"]
    return _file(f"{recipe.name} with pretrained weights and a new classifier.", recipe, imports, code)


def _freezing(recipe: ModelRecipe) -> list[str]:
    """Methods that keep layers of the backbone as they came: the early ones always, all of them at the beginning."""
    if not recipe.frozen and not recipe.frozen_epochs:
        return []
    lines = [
        "",
        "    def freeze(self, share):",
        '        """Let this share of the backbone\'s layers, counted from its input, stay as they came."""',
        "        layers = [layer for layer in self.backbone.modules() if list(layer.parameters(recurse=False))]",
        "        for number, layer in enumerate(layers):",
        "            learns = number >= share * len(layers)",
        "            layer.train(learns)  # a frozen layer keeps its normalisation too",
        "            for parameter in layer.parameters(recurse=False):",
        "                parameter.requires_grad_(learns)",
        "",
        "    def on_train_epoch_start(self):",
    ]
    if recipe.frozen_epochs:
        return [
            *lines,
            "        # A new classifier would at first spoil what the backbone has learnt: it begins alone.",
            f"        self.freeze(1.0 if self.current_epoch < {recipe.frozen_epochs} else {recipe.frozen:.4g})",
        ]
    return [*lines, f"        self.freeze({recipe.frozen:.4g})"]
