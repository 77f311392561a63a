"""The Ray cluster of a run: what its nodes offer, and stations on them. The only module that knows Ray."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from improve.config.invocation import install_extra
from improve.config.schema import ExecutorConfig
from improve.errors import ClusterError, SandboxError
from improve.execution import machine
from improve.execution.cluster import station
from improve.execution.cluster.post import Crew, Lines, Lost, Post
from improve.record.provenance import code_hash
from improve.sandbox import Tier

REPORT_SECONDS = 300.0  # for a node to say what it offers: it may have to import a lot from a cold disk
LOOK_SECONDS = 2.0  # between two looks at which nodes there are
CLIENT = "ray://"  # begins the address of a cluster that this machine is outside of
NO_SERVER = "Initialization failure from server"  # what Ray says where the head's end of a client did not come up
TOKEN = Path("~/.ray/auth_token")  # where Ray keeps it, unless told otherwise
ORDER = [tier.name for tier in reversed(Tier)]  # weakest first


@dataclasses.dataclass(frozen=True)
class Offer:
    """What trainings on the cluster get: the weakest tier of its nodes, and one node's hardware in a line."""

    tier: Tier
    how_to_improve: str
    hardware: str
    nodes: int  # that can take a training


class Connection:
    """The cluster, joined when it is first needed. `mode` as for `improve.sandbox.choose`; `say` tells what goes on."""

    def __init__(self, config: ExecutorConfig, mode: str, say: Callable[[str], None]) -> None:
        self.config, self.asked, self.mode, self.say = config, config.ray, mode, say
        self.tier: Tier | None = None  # the least that a station must have
        self._idle: list[tuple[Crew, threading.Timer]] = []
        self._lock = threading.Lock()
        self._joined = False

    def settings(self) -> str:
        """For a station: how it is configured as if it were alone there."""
        config = dataclasses.replace(
            self.config,
            name="local",
            threads=machine.training_threads(self.config),
            accelerator="gpu" if machine.uses_gpu(self.config) else "cpu",
        )
        values = dataclasses.asdict(config)
        del values["ray"]
        asked = {"mode": self.mode, "cache_dir": self.asked.cache_dir, "cache_gib": self.asked.cache_gib}
        return json.dumps({"config": values, **asked})

    # -- the cluster ---------------------------------------------------------------------------------------------

    def join(self) -> Any:
        """Ray, connected. Raises `ClusterError`."""
        _have_client_show_token(self.asked.address)
        ray = _ray()
        with self._lock:
            if not ray.is_initialized():
                self.say(f"joining the Ray cluster {self.asked.address}")
                _connect(ray, self.asked.address)
                self._joined = True
        return ray

    def survey(self) -> Offer:
        """Ask all nodes that can take a training what they offer.

        Raises `ClusterError` if there is none for `executor.ray.wait_seconds`, or one has other code, and
        `SandboxError` if one cannot confine as `mode` demands.
        """
        ray = self.join()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = ray.remote(num_cpus=0, max_retries=0)(station.report)
        here = [
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            for node in self._wait_for_nodes(self.say)
        ]
        asked = [one.remote(self.settings()) for one in here]
        said = [json.loads(_get(reference, REPORT_SECONDS)) for reference in asked]
        for one in said:
            self._check(one)
        weakest = min(said, key=lambda one: ORDER.index(one["tier"]))
        self.tier = Tier[weakest["tier"]]
        return Offer(self.tier, weakest["how_to_improve"], f"{said[0]['hardware']}, on a Ray cluster", len(said))

    def _wait_for_nodes(self, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """The nodes that have what one training asks for of each, taken or not: as many as it has, or more."""
        began, needed = time.monotonic(), self.config.num_nodes
        few = "No node" if needed == 1 else f"Fewer than {needed} nodes"
        fewer = f"{few} of the Ray cluster {self.asked.address}"
        while len(found := self._capable()) < needed:
            left = self.asked.wait_seconds - (time.monotonic() - began)
            if left <= 0:
                raise ClusterError(
                    f"{fewer} {'has' if needed == 1 else 'have'} had {self._wanted()} "
                    f"for {self.asked.wait_seconds:g} s; there are {self._there()}.",
                    "add such a node (ray start --address=HOST:PORT), or ask for less: executor.ray.num_cpus, "
                    f"executor.ray.num_gpus{', executor.num_nodes' if needed > 1 else ''}",
                )
            say(
                f"{few.lower()} of the cluster {'has' if needed == 1 else 'have'} {self._wanted()}: "
                f"waiting up to {left:.0f} s"
            )
            time.sleep(min(LOOK_SECONDS, left))
        return found

    def _resources(self) -> dict[str, float]:
        """What a training asks of a node, by Ray's names."""
        wanted = {"CPU": self.asked.num_cpus, "GPU": self.asked.num_gpus}
        if self.asked.accelerator_type:
            wanted[f"accelerator_type:{self.asked.accelerator_type}"] = 0.001
        return {name: count for name, count in wanted.items() if count}

    def _capable(self) -> list[dict[str, Any]]:
        wanted = self._resources()
        return [
            node
            for node in _ray().nodes()
            if node["Alive"] and all(node["Resources"].get(name, 0) >= count for name, count in wanted.items())
        ]

    def _wanted(self) -> str:
        gpus = f" and {self.asked.num_gpus:g} GPUs" if self.asked.num_gpus else ""
        kind = f" ({self.asked.accelerator_type})" if self.asked.accelerator_type else ""
        return f"{self.asked.num_cpus:g} CPUs{gpus}{kind}"

    def _there(self) -> str:
        nodes = [node["Resources"] for node in _ray().nodes() if node["Alive"]]
        found = (f"{one.get('CPU', 0):g} CPUs and {one.get('GPU', 0):g} GPUs" for one in nodes)
        return "nodes with " + ", ".join(found) if nodes else "none at all"

    def _check(self, said: dict[str, Any]) -> None:
        host = said["host"]
        if "error" in said:
            what, fix = said["error"]
            raise SandboxError(f"On {host}, a node of the Ray cluster: {what}", f"there: {fix}")
        if said["code"] != code_hash():
            raise ClusterError(
                f"On {host}, a node of the Ray cluster, improve is another version than here.",
                "install the same one there (the same commit, or the same release)",
            )
        if machine.uses_gpu(self.config) and not said["gpus"]:
            raise ClusterError(
                f"On {host}, a node of the Ray cluster, no NVIDIA GPU is seen, though Ray counts one.",
                "install its driver there, or run with executor.ray.num_gpus=0",
            )
        if self.tier and ORDER.index(said["tier"]) < ORDER.index(self.tier.name):
            raise SandboxError(
                f"{host}, a node of the Ray cluster, confines generated code in tier {said['tier']}, weaker than this "
                f"run's {self.tier.name}. {said['how_to_improve']}",
                "take it out of the cluster, or do there what is said above; then run the same command again",
            )

    # -- stations ------------------------------------------------------------------------------------------------

    def take(self, say: Callable[[str], None]) -> Crew:
        """The stations of a training: just put back, or new ones once nodes are free. `say` is told what it waits for.

        Raises `Lost` if one has gone before it was there, and what `survey` raises.
        """
        with self._lock:
            if self._idle:
                crew, timer = self._idle.pop()
                timer.cancel()
                return crew
        self.join()
        self._wait_for_nodes(say)
        with contextlib.ExitStack() as undo:
            places = self._bundles(say, undo)
            begun = [self._begun(place) for _, place in places]  # all, before the first is waited for
            for lines in begun:
                undo.callback(lines.kill)
            posts = [self._met(lines, address, say) for lines, (address, _) in zip(begun, places, strict=True)]
            return Crew(posts, undo.pop_all().close)

    def _bundles(self, say: Callable[[str], None], undo: contextlib.ExitStack) -> list[tuple[str, dict[str, Any]]]:
        """As many nodes at once as a training has: the address of each, and the place there by Ray's options."""
        if self.config.num_nodes == 1:
            return [("", {})]
        ray = _ray()
        from ray.util import placement_group, placement_group_table, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = placement_group([self._resources()] * self.config.num_nodes, strategy="STRICT_SPREAD")
        undo.callback(remove_placement_group, group)
        while not group.wait(LOOK_SECONDS):
            self._wait_for_nodes(say)
            say(f"waiting for {self.config.num_nodes} nodes of the cluster at once")
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
        nodes = placement_group_table(group)["bundles_to_node_id"]
        places = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i) for i in sorted(nodes)]
        return [(addresses[nodes[i]], {"scheduling_strategy": place}) for i, place in enumerate(places)]

    def _begun(self, place: dict[str, Any]) -> Lines:
        """A new station."""
        ray, asked = _ray(), self.asked
        resources = {"num_cpus": asked.num_cpus, "num_gpus": asked.num_gpus, "accelerator_type": asked.accelerator_type}
        actor = ray.remote(station.Station).options(max_restarts=0, **resources, **place).remote(self.settings())
        return Lines(lambda name, *arguments: getattr(actor, name).remote(*arguments), _get, lambda: ray.kill(actor))

    def _met(self, lines: Lines, address: str, say: Callable[[str], None]) -> Post:
        said = json.loads(self._first_word(lines, say))
        self._check(said)
        return Post(lines, said["host"], address)

    def _first_word(self, lines: Lines, say: Callable[[str], None]) -> str:
        """What a station says of itself once it is there, however long others hold the nodes."""
        ray, reference = _ray(), lines.call("report")
        while not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
            self._wait_for_nodes(say)
            say("waiting for a node of the cluster")
        return str(_get(reference, REPORT_SECONDS))

    def put_back(self, crew: Crew) -> None:
        """Keep stations for a moment, if they are there: what comes next is often at once."""
        if crew.ended:
            return
        timer = threading.Timer(self.asked.idle_seconds, self.release, args=[crew])
        timer.daemon = True
        with self._lock:
            self._idle.append((crew, timer))
        timer.start()

    def release(self, only: Crew | None = None) -> None:
        """End idle stations, so that others have their nodes' cores and GPUs."""
        with self._lock:
            ending = [each for each in self._idle if only is None or only is each[0]]
            self._idle = [each for each in self._idle if each not in ending]
        for crew, timer in ending:
            timer.cancel()
            for post in crew.posts:
                with contextlib.suppress(Lost):
                    post.lines.get(post.lines.call("close"), REPORT_SECONDS)
            crew.kill()

    def close(self) -> None:
        """End all stations, and leave the cluster if it was joined here."""
        self.release()
        if self._joined:
            _ray().shutdown()
            self._joined = False


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        what = "executor=ray needs the package ray, which is not installed here."
        raise ClusterError(what, install_extra("ray")) from None
    return ray


def _have_client_show_token(address: str) -> None:
    """Ray reads this once, when it is imported. A node of the cluster finds by itself that there is a token, a client
    outside of it shows none unless it is told to, and is answered by silence."""
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if address.startswith(CLIENT) and (given or TOKEN.expanduser().exists()):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it sends nothing to anybody
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray, address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        lines = (str(error).strip() or type(error).__name__).splitlines()
        said = lines[-1 if NO_SERVER in lines[0] else 0]  # below that is a traceback
        raise ClusterError(
            f"The Ray cluster {address} cannot be joined: {said}",
            "start one (ray start --head), or name yours: executor.ray.address=HOST:PORT, or ray://HOST:10001; "
            f"one that asks for a token does not answer without: have its {TOKEN} here, too, and RAY_AUTH_MODE=token",
        ) from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)  # Ray takes it for itself


def _init(ray: Any, address: str) -> None:
    """Ray's own. Its head forks a server for each client, and one fork in many ends at once."""
    for last in (False, False, True):
        try:
            ray.init(address, log_to_driver=False, configure_logging=False, namespace="improve")
            return
        except RuntimeError as error:
            if last or NO_SERVER not in str(error):
                raise


def _get(reference: Any, seconds: float) -> Any:
    """What a call gives. Raises `Lost` if who should give it is gone, else what the call raised."""
    ray = _ray()
    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.GetTimeoutError as error:
        raise Lost(f"no answer for {seconds:.0f} s") from error
    except ray.exceptions.RayTaskError:
        raise
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise Lost(str(error).strip().splitlines()[0]) from error
