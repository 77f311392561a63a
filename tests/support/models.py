"""The models that a whole configuration names."""

from __future__ import annotations

from improve.config.schema import Config
from improve.llm.backend import LiveModels
from improve.llm.clients import Clients


def clients_of(config: Config) -> Clients:
    return Clients(config.llm, config.role_llms, config.seed)


def live_models(config: Config) -> LiveModels:
    return LiveModels(config.llm, config.role_llms, config.seed)
