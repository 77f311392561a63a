"""A training recipe as a readable `training.py`."""

from __future__ import annotations

from improve.expert.recipe import TrainingRecipe, comment

SCHEDULES = {
    "constant": "at a constant learning rate",
    "cosine": "with a cosine schedule",
    "onecycle": "with a one-cycle schedule",
}
OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD with Nesterov momentum"}


def write_training(recipe: TrainingRecipe) -> str:
    """The source. It works for any model; parameters of `model.backbone`, if there is one, get a rate of their own."""
    averaged = f"{recipe.ema:.4g}  # the averaged weights are validated and kept" if recipe.ema else "None"
    lines = [
        f'"""{OPTIMIZERS[recipe.optimizer]} {SCHEDULES[recipe.schedule]}, {recipe.epochs} epochs."""',
        "",
        comment(recipe),
        "import torch",
        "",
        f"batch_size = {recipe.batch_size}",
        f"ema_decay = {averaged}",
        "",
        "",
        "def trainer_kwargs(context):",
        f"    return {_trainer(recipe)}",
        "",
        "",
        *(_groups(recipe)),
        "def configure_optimizers(model, context):",
        f"    optimizer = {_optimizer(recipe)}",
        *_schedule(recipe),
    ]
    return "\n".join(lines) + "\n"


def _trainer(recipe: TrainingRecipe) -> str:
    clip = f', "gradient_clip_val": {recipe.clip:.4g}' if recipe.clip else ""
    return f'{{"max_epochs": {recipe.epochs}{clip}}}'


def _groups(recipe: TrainingRecipe) -> list[str]:
    """Weight decay is for the weights alone: on biases and normalisation it only hurts."""
    scaled = recipe.backbone_lr != 1.0
    lines = [
        "def parameter_groups(model):",
        '    """Weights decay, biases and normalisation do not'
        + ('; a pretrained backbone learns more slowly."""' if scaled else '."""'),
        "    groups = {}",
        "    for name, parameter in model.named_parameters():",
        f"        decay = {recipe.weight_decay:.4g} if parameter.ndim > 1 else 0.0",
    ]
    rate = f"{recipe.lr:.4g}"
    if scaled:
        lines.append(f'        rate = {recipe.lr * recipe.backbone_lr:.4g} if name.startswith("backbone.") else {rate}')
        rate = "rate"
    lines += [
        f'        group = groups.setdefault((decay, {rate}), {{"params": [], "weight_decay": decay, "lr": {rate}}})',
        '        group["params"].append(parameter)',
        "    return list(groups.values())",
        "",
        "",
    ]
    return lines


def _optimizer(recipe: TrainingRecipe) -> str:
    if recipe.optimizer == "sgd":
        return f"torch.optim.SGD(parameter_groups(model), lr={recipe.lr:.4g}, momentum=0.9, nesterov=True)"
    return f"torch.optim.AdamW(parameter_groups(model), lr={recipe.lr:.4g})"


def _schedule(recipe: TrainingRecipe) -> list[str]:
    if recipe.schedule == "constant":
        return ["    return optimizer"]
    lines = ['    rates = [group["lr"] for group in optimizer.param_groups]'] if recipe.schedule == "onecycle" else []
    if recipe.schedule == "onecycle":
        start = min(0.5, max(0.02, recipe.warmup or 0.3))
        lines += [
            "    # The high rate in the middle learns fast and regularises, the long descent settles.",
            "    scheduler = torch.optim.lr_scheduler.OneCycleLR(",
            f"        optimizer, max_lr=rates, total_steps=context.total_steps, pct_start={start:.4g}",
            "    )",
        ]
    elif recipe.warmup:
        lines += [
            f"    warm = max(1, round({recipe.warmup:.4g} * context.total_steps))",
            "    rising = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warm)",
            "    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, context.total_steps - warm))",
            "    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[warm])",
        ]
    else:
        lines += ["    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, context.total_steps)"]
    return [*lines, '    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}']
