"""A model recipe as a readable `model.py`: the network is spelt out, so that its owner can change it by hand."""

from __future__ import annotations

from improve.expert.recipe import ModelRecipe, comment

CONSTRUCTOR = ["    def __init__(self, context):", "        super().__init__(context)"]


def write_model(recipe: ModelRecipe) -> str:
    """The source. It works for any image size, number of channels and number of classes."""
    writers = {"plain": _plain, "residual": _residual, "timm": _timm, "pretrained": _pretrained}
    return writers[recipe.family](recipe)


def _file(summary: str, recipe: ModelRecipe, imports: list[str], code: list[str]) -> str:
    return "\n".join([f'"""{summary}"""', "", comment(recipe), *imports, "", "", *code]) + "\n"


def _class(recipe: ModelRecipe) -> list[str]:
    """The first lines of the model's class: what it asks for in a line."""
    lines = [f"    label_smoothing = {recipe.label_smoothing:.4g}"] if recipe.label_smoothing else []
    # The mean over several looks at a new image is steadier than one answer.
    lines += [f'    views = "{recipe.views}"'] if recipe.views else []
    if recipe.family == "pretrained":
        lines += _freezing(recipe)
    return ["class Model(ImageClassifier):", *lines, *([""] if lines else []), *CONSTRUCTOR]


def _freezing(recipe: ModelRecipe) -> list[str]:
    """What of the backbone stays as it came, and how the new head starts."""
    lines = ["    probe = True  # the classifier starts as the best linear one"] if recipe.probe else []
    if recipe.thaw and recipe.frozen < 1:
        return [
            *lines,
            *([""] if lines else []),
            "    def frozen(self, progress):",
            "        # A new classifier would at first spoil what the backbone has learnt: it begins alone.",
            f"        return 1.0 if progress < {recipe.thaw:.4g} else {recipe.frozen:.4g}",
        ]
    # Early layers are good for all photos, and what need not learn is computed once.
    return [*lines, f"    frozen = {recipe.frozen:.4g}  # of the backbone's layers"] if recipe.frozen else lines


def _classifier(recipe: ModelRecipe, features: str) -> list[str]:
    dropout = [f"            nn.Dropout({recipe.dropout:.4g}),"] if recipe.dropout else []
    return [
        "            nn.AdaptiveAvgPool2d(1),",
        "            nn.Flatten(),",
        *dropout,
        f"            nn.Linear({features}, context.num_classes),",
    ]


def _forward(network: str = "self.network(images)") -> list[str]:
    return ["", "    def forward(self, images):", f"        return {network}"]


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
        *_forward(),
    ]
    summary = f"A plain convolutional network with {len(recipe.widths)} stages."
    imports = ["from template import ImageClassifier", "from torch import nn"]
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
        *_forward(),
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
        *_forward(),
    ]
    imports = ["import timm", "from template import ImageClassifier"]
    return _file(f"{recipe.name} of timm, trained from scratch.", recipe, imports, code)


def _pretrained(recipe: ModelRecipe) -> str:
    options = f", levels={recipe.levels}" if recipe.levels else ""
    options += f", drop_path_rate={recipe.drop_path:.4g}" if recipe.drop_path else ""
    classifier = "nn.Linear(self.backbone.num_features, context.num_classes)"
    if recipe.dropout:
        classifier = f"nn.Sequential(nn.Dropout({recipe.dropout:.4g}), {classifier})"
    code = [
        *_class(recipe),
        f'        self.backbone = pretrained_backbone(context, "{recipe.name}"{options})',
        f"        self.classifier = {classifier}",
        *_forward("self.classifier(self.backbone(images))"),
    ]
    imports = ["from template import ImageClassifier, pretrained_backbone", "from torch import nn"]
    return _file(f"{recipe.name} with pretrained weights and a new classifier.", recipe, imports, code)
