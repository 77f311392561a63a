"""Who answers which role: the run's model, or a role's own (`llm.roles`); all of them checked before a run starts."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from improve.config.llm_names import asked_model
from improve.config.schema import LLMConfig
from improve.domain import Role
from improve.errors import LLMError
from improve.llm.client import Client, has_key
from improve.llm.library import load
from improve.llm.pace import Pace
from improve.llm.surroundings import broken, proxy_for

REACH_SECONDS = 5.0


class Clients:
    """The clients of one run. Roles that share an option share its client, and what that has learnt of its server."""

    def __init__(self, main: LLMConfig, roles: Mapping[str, LLMConfig], seed: int, cache: Path | None = None) -> None:
        """`cache`: the folder in which paces are shared; None: they are not kept."""
        self.main = Client(main, seed, Pace.of(main, cache) if cache else None)
        self._by_role: dict[str, Client] = {}
        known: dict[str, Client] = {main.name: self.main}
        for role, llm in roles.items():
            # The run's own model may have been changed on the command line: then it is another one.
            same = known.get(llm.name)
            if same is None or _differ(same.config, llm):
                same = known[llm.name] = Client(llm, seed, Pace.of(llm, cache) if cache else None)
            self._by_role[role] = same

    def of(self, role: Role) -> Client:
        return self._by_role.get(role, self.main)

    @property
    def all(self) -> list[Client]:
        """Each client once, the run's own model first."""
        return list(dict.fromkeys([self.main, *self._by_role.values()]))

    @property
    def offline(self) -> bool:
        """Whether no language model is asked at all."""
        return all(client.offline for client in self.all)

    @property
    def models(self) -> str:
        """The language models in words: "openai/o1 and openai/gpt-4o-mini"."""
        return " and ".join(dict.fromkeys(asked_model(client.config) for client in self.all if not client.offline))

    def check(self) -> None:
        """Refuse a run whose keys are missing, whose models nobody has or whose servers are not there.

        Sends no request. Raises `LLMError`; costs nothing where no language model is asked.
        """
        asked = [client for client in self.all if not client.offline]
        for client in asked:
            _check_key(client.config, self._roles(client))
        if asked:
            _check_surroundings([client.config for client in asked])
        for client in asked:
            client.model()
            _check_own_key(client.config, self._roles(client))
            _check_server(client.config)

    def _roles(self, client: Client) -> str:
        """ " (for analyst, summarizer)", "" for the run's own model."""
        roles = [role for role, own in self._by_role.items() if own is client and client is not self.main]
        return f" (for {', '.join(roles)})" if roles else ""


def _differ(one: LLMConfig, other: LLMConfig) -> bool:
    return {**vars(one), "roles": None} != {**vars(other), "roles": None}


def _check_key(config: LLMConfig, roles: str) -> None:
    if not has_key(config):
        raise _keyless(config, roles, config.api_key_env or "")


def _check_own_key(config: LLMConfig, roles: str) -> None:
    """A provider whose variables litellm knows, where the configuration names none."""
    if config.api_key_env or config.api_base:
        return
    missing: Iterable[str] = load()[0].validate_environment(asked_model(config))["missing_keys"]
    for name in missing:
        raise _keyless(config, roles, name)


def _keyless(config: LLMConfig, roles: str, variable: str) -> LLMError:
    return LLMError(
        f"llm={config.name}{roles} needs a key in the environment variable {variable}, which is not set.",
        f"export {variable}=…, or run without a language model: llm=offline",
    )


def _check_surroundings(configs: Sequence[LLMConfig]) -> None:
    for what, fix in broken():
        raise LLMError(f"llm={configs[0].name} cannot be reached: {what}", fix)


def _check_server(config: LLMConfig) -> None:
    """Whether anybody listens at an address of one's own: a server that was not started is no outage to wait for."""
    address = config.api_base or "https://provider"
    proxy = proxy_for(address)
    if proxy is not None:  # it is asked, not the host
        variable, host, port = proxy
        reason = _unreached(host, port)
        if reason:
            raise LLMError(
                f"llm={config.name}: nobody answers at the proxy that {variable} names ({reason}).",
                f"unset {variable}, or name the host in NO_PROXY",
            )
        return
    if config.api_base is None:
        return
    parts = urlsplit(config.api_base)
    reason = _unreached(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    if reason:
        raise LLMError(
            f"llm={config.name}: nobody answers at llm.api_base={config.api_base} ({reason}).",
            "start the server, or give its address: llm.api_base=http://HOST:PORT/v1",
        )


def _unreached(host: str, port: int) -> str:
    """Why no connection can be made; "" if one can."""
    try:
        socket.create_connection((host, port), timeout=REACH_SECONDS).close()
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ""
