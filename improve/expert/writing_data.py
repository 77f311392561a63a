"""A data recipe as a readable `data.py`."""

from __future__ import annotations

from improve.expert.recipe import DataRecipe, comment

AUTO = {
    "randaugment": "v2.RandAugment(num_ops=2, magnitude=7)",
    "trivialaugment": "v2.TrivialAugmentWide()",
    "augmix": "v2.AugMix()",
}


def write_data(recipe: DataRecipe) -> str:
    """The source. It works for any image size, number of channels and number of classes."""
    parts = _augmentations(recipe)
    mixing = [name for name, used in (("CutMix", recipe.cutmix), ("MixUp", recipe.mixup)) if used]
    imports = sorted({"Chain", *(part.split("(")[0] for part in parts), *mixing}) if parts or mixing else []
    lines = [f'"""{_summary(recipe)}"""', "", comment(recipe)]
    lines += ["import torch"] if recipe.balanced else []
    names = [name for name in imports if parts or name != "Chain"]
    lines += [f"from augment import {', '.join(names)}"] if names else []
    lines += ["from template import ImageDataModule"]
    lines += ["from torchvision.transforms import v2"] if recipe.size or recipe.auto else []
    lines += ["", "", "class DataModule(ImageDataModule):"]
    body = [
        *_constructor(recipe, parts),
        *_transforms(recipe),
        *_batch_transform(recipe, bool(parts)),
        *_sampler(recipe),
    ]
    lines += body or ["    pass"]
    while not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n"


def _summary(recipe: DataRecipe) -> str:
    used = [
        text
        for text, there in (
            (f"resized to {recipe.size} pixels", recipe.size),
            (f"moved by up to {recipe.shift} pixels", recipe.shift),
            ("mirrored", recipe.flip),
            ("turned or scaled a little", recipe.degrees or recipe.zoom),
            ("changed in brightness and contrast", recipe.color),
            ("partly blanked", recipe.erase),
            (f"varied by {recipe.auto}", recipe.auto),
            ("mixed with each other", recipe.mixup or recipe.cutmix),
            ("drawn equally often from every class", recipe.balanced),
        )
        if there
    ]
    return f"Training images: normalised{', ' if used else ''}{', '.join(used)}."


def _augmentations(recipe: DataRecipe) -> list[str]:
    parts = []
    if recipe.degrees or recipe.zoom:
        scale = f"({1 - recipe.zoom:.4g}, {1 + recipe.zoom:.4g})"
        parts.append(f"RandomAffine(degrees={recipe.degrees:.4g}, scale={scale})")
    if recipe.shift:
        parts.append(f"RandomShift({recipe.shift})")
    if recipe.color:
        strength = f"{recipe.color:.4g}"
        parts.append(f"ColorJitter(brightness={strength}, contrast={strength}, color={recipe.color / 2:.4g})")
    if recipe.erase:
        parts.append(f"RandomErasing(p={recipe.erase:.4g})")
    return parts


def _constructor(recipe: DataRecipe, parts: list[str]) -> list[str]:
    lines = []
    if parts:
        chain = f"        self.augment = Chain({', '.join(parts)})"
        if len(chain) > 110:
            listed = (f"            {part}," for part in parts)
            chain = "\n".join(["        self.augment = Chain(", *listed, "        )"])
        lines.append(chain)
    if recipe.cutmix:
        lines.append(f"        self.cutmix = CutMix(context.num_classes, p={recipe.cutmix:.4g})")
    if recipe.mixup:
        lines.append(f"        self.mixup = MixUp(context.num_classes, alpha={recipe.mixup:.4g})")
    start = ["    flip = True  # half of the training images are mirrored", ""] if recipe.flip else []
    return (
        [*start, "    def __init__(self, context):", "        super().__init__(context)", *lines, ""]
        if lines
        else start
    )


def _transforms(recipe: DataRecipe) -> list[str]:
    if not recipe.size and not recipe.auto:
        return []
    # A pair of numbers, so that images that are not square become square.
    resize = [f"v2.Resize(({recipe.size}, {recipe.size}), antialias=True)"] if recipe.size else []
    evaluation = f"v2.Compose([{', '.join([*resize, 'self.normalize()'])}])" if resize else "self.normalize()"
    lines: list[str] = []
    if recipe.auto:
        steps = ", ".join([*resize, AUTO[recipe.auto], "self.normalize()"])
        lines += [
            "    def train_transform(self):",
            "        # It decides anew for each image, so it runs image by image and costs time.",
            f"        return v2.Compose([{steps}])",
            "",
        ]
    else:
        lines += ["    def train_transform(self):", "        return self.eval_transform()", ""]
    if resize:
        lines += ["    def eval_transform(self):", f"        return {evaluation}", ""]
    return lines


def _batch_transform(recipe: DataRecipe, augments: bool) -> list[str]:
    if not augments and not recipe.mixup and not recipe.cutmix:
        return []
    lines = ["    def batch_transform(self, images, targets):"]
    lines += ["        images = self.augment(images)"] if augments else []
    lines += ["        images, targets = self.cutmix(images, targets)"] if recipe.cutmix else []
    lines += ["        images, targets = self.mixup(images, targets)"] if recipe.mixup else []
    return [*lines, "        return images, targets", ""]


def _sampler(recipe: DataRecipe) -> list[str]:
    if not recipe.balanced:
        return []
    return [
        "    def sampler(self, labels):",
        "        # Rare classes are drawn as often as common ones.",
        "        labels = torch.as_tensor(labels)",
        "        weights = 1 / torch.bincount(labels).clamp(min=1)[labels].double()",
        "        return torch.utils.data.WeightedRandomSampler(weights, num_samples=len(labels))",
        "",
    ]
