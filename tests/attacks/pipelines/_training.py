import torch

batch_size = 16


def trainer_kwargs(context):
    return {"max_epochs": 1}


def configure_optimizers(model, context):
    return torch.optim.AdamW(model.parameters(), lr=0.01)
