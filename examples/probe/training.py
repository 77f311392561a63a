import torch
from template import by_progress

batch_size = 256
ema_horizon = 0.2


def trainer_kwargs(context):
    return {"max_epochs": 30}


def configure_optimizers(model, context):
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=2e-4, weight_decay=0.01)
    return by_progress(optimizer, lambda progress: 1 - progress, context)
