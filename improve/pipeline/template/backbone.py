"""Networks with pretrained weights, and what stays frozen of them: whole, or the layers that come first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from context import Context, PretrainedWeights
from errors import ContractError
from torch import Tensor, nn

# Where a network of timm ends to look and begins to answer.
HEADS = ("global_pool", "head", "fc", "classifier", "norm_head", "head_drop", "fc_norm")
TOLERANCE = 1e-3


class Renormalize(nn.Module):
    """From the data set's normalisation to that of pretrained weights; grey images become three equal channels."""

    def __init__(self, context: Context, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        own_mean, own_std = torch.tensor(context.mean), torch.tensor(context.std)
        new_mean, new_std = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("scale", (own_std / new_std).view(1, -1, 1, 1))
        self.register_buffer("shift", ((own_mean - new_mean) / new_std).view(1, -1, 1, 1))

    scale: Tensor
    shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift


class Backbone(nn.Sequential):
    """A network of timm without its classifier: images `B × C × H × W` to features `B × num_features`.

    With `levels`, the features are those of the network and, behind them, the means over the image of what its last so
    many stages give before (Head2Toe, arXiv 2201.03529). A stage ends where the size or the channels change; a network
    without such stages has its own features alone.

    It is a chain of `units` (blocks, mostly), which may be entered further in: `entry` units are then left out, and
    what comes in is what they would have given. A network that is no plain chain is one unit.
    """

    def __init__(self, renormalize: Renormalize, network: nn.Module, levels: int = 0) -> None:
        super().__init__(renormalize, network)
        # timm's networks have both; the first is what comes out where layers stand between the two.
        self.num_features = int(getattr(network, "head_hidden_size", network.num_features))  # type: ignore[arg-type]
        self.entry = 0
        self._units: list[nn.Module] | None = None
        ends = self._stages()[-levels:] if levels > 0 else {}
        self._ends = dict(ends)  # places of units whose outputs are features, too, with their channels
        self.num_features += sum(self._ends.values())

    @property
    def units(self) -> list[nn.Module]:
        """The parts of the network, in the order in which images pass them."""
        if self._units is None:
            units = _flat([child for name, child in self._trunk()])
            self._units = units if len(units) > 1 and self._is_chain(units) else [self[1]]
        return self._units

    def _trunk(self) -> list[tuple[str, nn.Module]]:
        children = list(self[1].named_children())
        end = next((place for place, (name, _) in enumerate(children) if name in HEADS), len(children))
        return children[:end]

    def _is_chain(self, units: list[nn.Module]) -> bool:
        """Whether the units one after another give what the network gives."""
        network, was_training = self[1], self[1].training
        first = next(network.parameters())
        images = torch.rand(1, 3, 64, 64, device=first.device, dtype=first.dtype)
        network.eval()
        try:
            with torch.no_grad():
                there = network.forward_features(images)  # type: ignore[operator]
                for unit in units:
                    images = unit(images)
            return images.shape == there.shape and bool(torch.allclose(images, there, atol=TOLERANCE))
        except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError):
            return False  # it does more than to call its parts, or wants another size
        finally:
            network.train(was_training)

    def _stages(self) -> list[tuple[int, int]]:
        """The place of each stage's last unit, with its channels; without the last stage, which the features are of."""
        if len(self.units) == 1 or str(getattr(self[1], "output_fmt", "NCHW")) != "NCHW":
            return []
        images, shapes, was_training = torch.zeros(1, 3, 64, 64), [], self[1].training
        self[1].eval()
        with torch.no_grad():
            for unit in self.units:
                images = unit(images)
                shapes.append(images.shape)
        self[1].train(was_training)
        pairs = enumerate(pairwise(shapes))
        return [(place, int(shape[1])) for place, (shape, after) in pairs if len(shape) == 4 and shape != after]

    def can_be_entered(self, units: int) -> bool:
        """Whether what the first so many units give is all that is needed of them."""
        return units >= len(self.units) or all(place >= units for place in self._ends)

    def until(self, images: Tensor, units: int) -> Tensor:
        """What the first so many units make of images; all of them: features as `B × F × 1 × 1`."""
        if units >= len(self.units):
            return self._features(images)[:, :, None, None]
        images = self[0](images)
        for unit in self.units[:units]:
            images = unit(images)
        return images

    def forward(self, images: Tensor) -> Tensor:
        if not self.entry:
            return self._features(images)
        return images.flatten(1) if self.entry >= len(self.units) else self._behind(images, self.entry)

    def _features(self, images: Tensor) -> Tensor:
        images = self[0](images)
        if self._ends:
            return self._behind(images, 0)
        return self[1](images)  # type: ignore[no-any-return]

    def _behind(self, images: Tensor, entry: int) -> Tensor:
        """Features of what the first `entry` units have given."""
        means = []
        for place, unit in enumerate(self.units[entry:], entry):
            images = unit(images)
            if place in self._ends:
                means.append(images.mean((2, 3)))
        own: Tensor = self[1].forward_head(images)  # type: ignore[operator]
        return torch.cat([own, *means], 1) if means else own


def _flat(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """With the members of sequences instead of these."""
    found: list[nn.Module] = []
    for module in modules:
        found += _flat(list(module)) if type(module) is nn.Sequential else [module]
    return [module for module in found if not isinstance(module, nn.Identity)]


def pretrained_backbone(context: Context, name: str, levels: int = 0, **options: Any) -> Backbone:
    """timm's model `name` with the pretrained weights of this machine; returns features `B × F` (no classifier).

    Takes images of any size, normalised by `ImageDataModule.normalize`. `.num_features` is F. With `levels`, what its
    last so many stages give before are features, too. A name without a tag ("resnet18") takes the weights of any.
    Raises `ContractError` if there are none.
    """
    name, weights = _weights_of(context, name)
    if not context.restoring:
        # The file is the classifier's whole state; num_classes=0 leaves its last layer out.
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": weights.file}}
    return Backbone(Renormalize(context, weights.mean, weights.std), _network(name, options), levels)


def _weights_of(context: Context, name: str) -> tuple[str, PretrainedWeights]:
    fitting = (known for known in context.pretrained if "." not in name and known.split(".")[0] == name)
    found = name if name in context.pretrained else next(fitting, None)
    if found is None:
        at_hand = ", ".join(context.pretrained) or "none"
        raise ContractError(
            f"no pretrained weights for {name!r} on this machine (at hand: {at_hand}). Weights are fetched for names "
            "that stand as texts in model.py: pretrained_backbone(context, 'NAME')."
        )
    return found, context.pretrained[found]


def _network(name: str, options: dict[str, Any]) -> nn.Module:
    """timm's model without a classifier, for images of any size: transformers are made to fit their positions to it."""
    import timm

    fixed = timm.get_pretrained_cfg(name)
    if fixed is not None and fixed.fixed_input_size and not {"img_size", "dynamic_img_size"} & set(options):
        flexible: dict[str, Any] = {"dynamic_img_size": True, "dynamic_img_pad": True}
        try:
            return timm.create_model(name, num_classes=0, **options, **flexible)
        except TypeError:  # no such options: a network of one size gets images of that size
            network = timm.create_model(name, num_classes=0, **options)
            return _Resized(network, fixed.input_size[-2:])
    return timm.create_model(name, num_classes=0, **options)


class _Resized(nn.Module):
    """A network that takes images of one size alone, for images of any."""

    def __init__(self, network: nn.Module, size: Sequence[int]) -> None:
        super().__init__()
        self.network, self.size = network, tuple(size)
        self.num_features = int(getattr(network, "head_hidden_size", network.num_features))  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        images = nn.functional.interpolate(images, self.size, mode="bilinear", antialias=True)
        return self.network(images)  # type: ignore[no-any-return]


def layer_groups(model: nn.Module, lr: float, decay: float = 0.8, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: `lr` for what is new, and less for each unit of `model.backbone` towards its
    input, by the factor `decay`. Weights decay, biases and normalisation do not."""
    rates: dict[int, float] = {}
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, Backbone):
        rates = {id(p): lr * decay ** len(backbone.units) for p in backbone.parameters()}
        for depth, unit in enumerate(backbone.units):
            rates |= {id(p): lr * decay ** (len(backbone.units) - depth) for p in unit.parameters()}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for parameter in model.parameters():
        key = (rates.get(id(parameter), lr), weight_decay if parameter.ndim > 1 else 0.0)
        group = groups.setdefault(key, {"params": [], "lr": key[0], "weight_decay": key[1]})
        group["params"].append(parameter)
    return list(groups.values())
