"""What a pipeline may do wrong."""


class ContractError(Exception):
    """A component does not do what its contract says. The message says what is wanted instead."""


class NonFiniteLoss(Exception):
    """The training loss became NaN or infinite."""
