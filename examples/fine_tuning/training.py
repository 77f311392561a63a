import math

import torch
from template import by_progress, layer_groups

batch_size = 32
ema_horizon = 0.1


def trainer_kwargs(context):
    return {"gradient_clip_val": 1.0}


def configure_optimizers(model, context):
    optimizer = torch.optim.AdamW(layer_groups(model, 1e-3, decay=0.85, weight_decay=0.05))

    def rate(progress):
        return progress / 0.1 if progress < 0.1 else 0.5 * (1 + math.cos(math.pi * (progress - 0.1) / 0.9))

    return by_progress(optimizer, rate, context)
