"""adapters/docker/strangers — which containers that are not ours were given GPUs. Reads only, and of each container once."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from agent.adapters.docker import failures
from agent.adapters.docker.arguments import AGENT_LABEL
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.views import Json
from agent.core.gpu_strangers import GpuStranger, GpuStrangers

# An inspect takes a millisecond or two, and whoever asks waits for it; what is left over is looked at next time.
MOST_INSPECTED = 100
_NVIDIA_KIND = "nvidia.com/"
_VISIBLE = "NVIDIA_VISIBLE_DEVICES="
_NONE_VISIBLE = frozenset({"", "void", "none"})
_NODE = re.compile(r"/dev/nvidia[0-9]+")


class Strangers:
    """What a container was given never changes, so it is remembered for as long as the container runs. `most` are read in a look."""

    def __init__(self, calls: Calls, agent: str, most: int = MOST_INSPECTED) -> None:
        self._calls, self._agent, self._most = calls, agent, most
        self._seen: dict[str, GpuStranger] = {}

    async def look(self) -> GpuStrangers:
        """Of those that run. Raises EngineUnavailableError, EngineRefusedError."""
        try:
            listed = await self._calls.quick(lambda client: client.containers())
            others = [
                item["Id"] for item in listed if (item.get("Labels") or {}).get(AGENT_LABEL) != self._agent
            ]
            self._seen = {container: self._seen[container] for container in others if container in self._seen}
            new = [container for container in others if container not in self._seen]
            for container in new[: self._most]:
                await self._inspect(container)
        except Refusal as refusal:
            raise failures.refused(refusal) from refusal
        found = (stranger for stranger in self._seen.values() if stranger.gpus)
        return GpuStrangers(tuple(sorted(found, key=lambda one: one.name)), len(new[self._most :]))

    async def _inspect(self, container: str) -> None:
        try:
            answer = await self._calls.quick(lambda client: client.inspect_container(container))
        except Refusal as refusal:
            if refusal.status == 404:  # it has ended meanwhile
                return
            raise
        self._seen[container] = stranger(answer)


def stranger(answer: Json) -> GpuStranger:
    """`GET /containers/{id}/json`."""
    config, host = answer["Config"], answer["HostConfig"]
    given = [
        *(gpu for request in host.get("DeviceRequests") or () for gpu in _requested(request)),
        *_visible(config.get("Env") or (), host.get("Runtime") or ""),
        *(path for device in host.get("Devices") or () if _NODE.fullmatch(path := device["PathOnHost"])),
    ]
    labels = config.get("Labels") or {}
    return GpuStranger(answer["Name"].removeprefix("/"), tuple(dict.fromkeys(given)), labels.get(AGENT_LABEL))


def _requested(request: Json) -> Iterator[str]:
    ids = request.get("DeviceIDs") or ()
    if request["Driver"] == "cdi":
        for device in ids:
            kind, _, name = device.partition("=")
            if kind.startswith(_NVIDIA_KIND):
                yield name
        return
    wishes: list[Any] = [wish for group in request.get("Capabilities") or () for wish in group]
    if request["Driver"] != "nvidia" and "gpu" not in wishes:
        return
    count = request.get("Count") or 0
    # The engine hands a number of GPUs out as those of the lowest numbers (moby, daemon/nvidia_linux.go).
    yield from ids or (map(str, range(count)) if count >= 0 else ("all",))


def _visible(environment: Sequence[str], runtime: str) -> Iterator[str]:
    """What NVIDIA's runtime reads out of the environment; any other runtime reads nothing there."""
    if "nvidia" not in runtime:
        return
    for line in environment:
        if line.startswith(_VISIBLE):
            yield from (gpu for gpu in line.removeprefix(_VISIBLE).split(",") if gpu not in _NONE_VISIBLE)
