"""What a strategy fixes in the configuration, so that the same run is found whatever a study sets for its others."""

from __future__ import annotations

import dataclasses

from improve.config.schema import Config, ConstraintsConfig, StrategyConfig
from improve.strategies import Strategy


def settle(config: Config, strategy: Strategy) -> Config:
    """The configuration with what its strategy fixes (`Strategy.fixed`, `unused`)."""
    unused = {key: getattr(StrategyConfig(), key) for key in strategy.unused}
    name = strategy.recorded_as or strategy.name
    settled = dataclasses.replace(config.strategy, name=name, **unused, **strategy.fixed)
    dataset = config.dataset
    if dataset.constraints.roles_only and not strategy.refines:
        dataset = dataclasses.replace(dataset, constraints=ConstraintsConfig())
    return dataclasses.replace(config, strategy=settled, dataset=dataset)
