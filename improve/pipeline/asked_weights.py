"""Which pretrained networks a model component asks for, read from its source: nothing of it is run."""

from __future__ import annotations

import ast

FUNCTION = "pretrained_backbone"


def asked_weights(source: str) -> list[str]:
    """The names given to `pretrained_backbone(context, NAME)`, in their order: texts, or names that hold one text.

    >>> asked_weights("BACKBONE = 'resnet18'\\nself.backbone = pretrained_backbone(context, BACKBONE)")
    ['resnet18']
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    texts = _texts(tree)
    found = [
        texts.get(_dotted(given), "") if not isinstance(given, ast.Constant) else given.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _dotted(call.func).split(".")[-1] == FUNCTION
        for given in _names_in(call)
    ]
    return list(dict.fromkeys(name for name in found if isinstance(name, str) and name))


def loads_by_itself(tree: ast.Module) -> bool:
    """Whether `timm.create_model(…, pretrained=True)` stands in it, which needs a network and so cannot work."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _dotted(call.func).split(".")[-1] == "create_model":
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            wanted = given.get("pretrained")
            if isinstance(wanted, ast.Constant) and wanted.value is True and "pretrained_cfg_overlay" not in given:
                return True
    return False


def _names_in(call: ast.Call) -> list[ast.expr]:
    return [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]


def _texts(tree: ast.Module) -> dict[str, object]:
    """What is assigned once, and is a text: by its name, at any level, "self.name" included."""
    texts: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                name = _dotted(target)
                texts[name] = None if name in texts else node.value.value
                if isinstance(target, ast.Name):
                    texts.setdefault(f"self.{name}", node.value.value)
    return texts


def _dotted(node: ast.expr) -> str:
    """ "self.backbone" of such an expression, "" of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr}" if inner else node.attr
    return ""
