"""What only an import of torch can tell; run as a module, so that a slow or broken torch hurts nobody: prints JSON.

python -m improve.commands.torch_probe    {"versions": {"torch": "2.15.0", …}, "devices": [["NVIDIA H100", ""], …]}
"""

from __future__ import annotations

import json


def devices() -> list[tuple[str, str]]:
    """Name of each accelerator, and why it cannot be used ("" if it can): a computation is tried on each."""
    import torch

    found = [(f"cuda:{index}", torch.cuda.get_device_name(index)) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    return [(name, _problem(device)) for device, name in found]


def _problem(device: str) -> str:
    import torch

    try:
        torch.ones(2, device=device).sum().item()
    except RuntimeError as error:  # a driver that is too old, a GPU that this build has no code for, …
        return str(error).splitlines()[0]
    return ""


def main() -> None:
    import pytorch_lightning
    import timm
    import torch
    import torchvision

    modules = {"torch": torch, "torchvision": torchvision, "lightning": pytorch_lightning, "timm": timm}
    versions = {name: module.__version__ for name, module in modules.items()}
    print(json.dumps({"versions": versions, "devices": devices()}))


if __name__ == "__main__":
    main()
