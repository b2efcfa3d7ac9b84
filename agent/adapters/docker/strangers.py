"""adapters/docker/strangers — which containers that are not ours were given GPUs. Reads only, and of each container once."""

from agent.adapters.docker import failures
from agent.adapters.docker.arguments import AGENT_LABEL
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.given import given_gpus
from agent.adapters.docker.views import Json
from agent.core.gpu_strangers import GpuStranger, GpuStrangers

# An inspect takes a millisecond or two, and whoever asks waits for it; what is left over is looked at next time.
MOST_INSPECTED = 100


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
    labels = answer["Config"].get("Labels") or {}
    return GpuStranger(answer["Name"].removeprefix("/"), given_gpus(answer), labels.get(AGENT_LABEL))
