import torch
from template import by_progress

batch_size, highest = (512, 0.3) if torch.cuda.is_available() else (128, 0.1)
ema_horizon = 0.05


def trainer_kwargs(context):
    return {}


def configure_optimizers(model, context):
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=highest, momentum=0.85, nesterov=True, weight_decay=5e-4)
    return by_progress(optimizer, lambda p: 0.2 + 4 * p if p < 0.2 else max(0.01, (1 - p) / 0.8), context)
