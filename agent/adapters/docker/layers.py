"""adapters/docker/layers — what a container holds of the engine's disk beside its image. Reads the engine's folders; changes none.

Where the engine says in which folder a container's own files are (overlay2), they are counted there: in allocated blocks, within
a time that we set. The engine itself adds up lengths, sparse files and all, for as long as that takes; it is asked where it says none.
"""

import os
from collections.abc import Sequence

from agent.adapters.disk_use import held_below, space
from agent.adapters.docker import failures
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.views import Json
from agent.core.disk_space import CountLimits, DiskSpace, Held

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Of those that were looked at last; where a container's files are never changes.
MOST_REMEMBERED = 1000


class Layers:
    """Of one engine."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._data_root: str | None = None
        self._folders: dict[str, tuple[str, ...]] = {}

    def tell(self, data_root: str) -> None:
        """Where the engine keeps its data: who asks it for its facts says so, too."""
        self._data_root = data_root

    async def space(self) -> DiskSpace | None:
        """None: the engine's data is not on this host, or not in sight. Raises EngineUnavailableError, EngineRefusedError."""
        if self._data_root is None:
            try:
                self.tell((await self._calls.quick(lambda client: client.info()))["DockerRootDir"])
            except Refusal as refusal:
                raise failures.refused(refusal) from refusal
        return await self._calls.outside_engine(self._look)

    async def held(self, container: str, limits: CountLimits) -> Held:
        """Raises EngineUnavailableError, EngineRefusedError."""
        try:
            folders = self._folders.get(container)
            if folders is None:
                answer = await self._calls.quick(lambda client: client.inspect_container(container))
                folders = self._remember(container, folders_of(answer))
            counted = await self._calls.outside_engine(lambda: _count(folders, limits)) if folders else None
            return await self._ask(container) if counted is None else counted
        except Refusal as refusal:
            if refusal.status == 404:
                return Held()
            raise failures.refused(refusal) from refusal

    def _look(self) -> DiskSpace | None:
        try:
            root = os.open(self._data_root or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return space(root)
        finally:
            os.close(root)

    def _remember(self, container: str, folders: tuple[str, ...]) -> tuple[str, ...]:
        while len(self._folders) >= MOST_REMEMBERED:
            del self._folders[next(iter(self._folders))]
        self._folders[container] = folders
        return folders

    async def _ask(self, container: str) -> Held:
        """By the engine's own count, which knows no freshness and no number of files, and is always whole."""
        found = await self._calls.quick(
            lambda client: client.containers(all=True, size=True, filters={"id": container})
        )
        return Held(sum(item.get("SizeRw") or 0 for item in found if item["Id"] == container))


def folders_of(answer: Json) -> tuple[str, ...]:
    """`GET /containers/{id}/json`: the container's own files first, then its volumes. Empty: the engine does not say."""
    own = ((answer.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    volumes = [mount["Source"] for mount in answer.get("Mounts") or [] if mount.get("Type") == "volume"]
    return (own, *volumes) if own else ()


def _count(folders: Sequence[str], limits: CountLimits) -> Held | None:
    """None: the container's own files are not in sight. Our quota volumes are file systems of their own, and do not count."""
    total, device = Held(), None
    for number, path in enumerate(folders):
        try:
            root = os.open(path, _FOLDER)
        except OSError:
            if number == 0:
                return None
            continue
        try:
            device = os.fstat(root).st_dev if device is None else device
            if os.fstat(root).st_dev == device:
                total += held_below(root, limits)
        finally:
            os.close(root)
    return total
