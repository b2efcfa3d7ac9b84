"""adapters/docker/volumes — our named volumes: made, made anew on another device, listed, removed. Mounts nothing: the engine does."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent.adapters.docker import failures
from agent.adapters.docker.arguments import (
    AGENT_LABEL,
    JOB_LABEL,
    VOLUME_DRIVER,
    volume_labels,
    volume_options,
)
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.core.container import QuotaVolume
from agent.interfaces import EngineRefusedError, NameTakenError

Json = Mapping[str, Any]


async def ensure(calls: Calls, agent: str, volume: QuotaVolume) -> None:
    """The engine answers a second create of a name with the first one's volume, whatever is asked for: so look, and look again."""
    if not await _is_as_wanted(calls, agent, volume):
        await _remove_stale(calls, volume.name)
        options, labels = volume_options(volume.device), volume_labels(agent, volume.job)
        try:
            await calls.slow(lambda client: client.create_volume(volume.name, VOLUME_DRIVER, options, labels))
        except Refusal as refusal:
            raise failures.refused(refusal) from refusal
        if not await _is_as_wanted(calls, agent, volume):
            raise EngineRefusedError(f"the engine gave the volume {volume.name} another device")


async def listed(calls: Calls, agent: str) -> list[QuotaVolume]:
    label = {"label": [f"{AGENT_LABEL}={agent}"]}
    try:
        answer: Json = await calls.quick(lambda client: client.volumes(filters=label))
    except Refusal as refusal:
        raise failures.refused(refusal) from refusal
    return [_volume(found) for found in answer.get("Volumes") or ()]


async def find(calls: Calls, agent: str, name: str) -> QuotaVolume | None:
    found = await _inspect(calls, name)
    return _volume(found) if found is not None and _labels(found).get(AGENT_LABEL) == agent else None


async def remove(calls: Calls, name: str) -> bool:
    """Whether it is gone."""
    refusal = await _try_to_remove(calls, name)
    if refusal is not None and refusal.status >= 500 and await _complete(calls, name):
        refusal = await _try_to_remove(calls, name)
    if refusal is None or refusal.status == 404:
        return True
    if refusal.status == 409:  # a container has it
        return False
    raise failures.refused(refusal) from refusal


async def _try_to_remove(calls: Calls, name: str) -> Refusal | None:
    try:
        await calls.slow(lambda client: client.remove_volume(name))
    except Refusal as refusal:
        return refusal
    return None


async def _complete(calls: Calls, name: str) -> bool:
    """An engine that died in the middle of a removal knows the volume still, has no folder of it any more, and refuses for ever to
    remove what it can't unmount (moby, volume/local: `unmount` before anything else). So it gets the folder back. False: that is not it.
    """
    found = await _inspect(calls, name)
    return found is not None and await calls.outside_engine(partial(_make_missing, _folder_of(found), name))


def _make_missing(folder: Path, name: str) -> bool:
    """No other folder than the one that the engine's own driver makes, in that of the volume."""
    if (folder.name, folder.parent.name) != ("_data", name):
        return False
    try:
        folder.mkdir(mode=0o701)
    except OSError:  # it is there, or the engine's folders are not where we can see them
        return False
    return True


async def _is_as_wanted(calls: Calls, agent: str, volume: QuotaVolume) -> bool:
    """Raises NameTakenError where the name is that of a volume which is not ours."""
    found = await _inspect(calls, volume.name)
    if found is None:
        return False
    if _labels(found).get(AGENT_LABEL) != agent:
        if not await _is_half_made(calls, found):
            raise NameTakenError(f"the volume {volume.name} is not this agent's")
        return False
    return _volume(found) == volume and found.get("Options") == volume_options(volume.device)


async def _remove_stale(calls: Calls, name: str) -> None:
    if not await remove(calls, name):
        raise EngineRefusedError(f"a container holds the volume {name}, which has to be made anew")


async def _inspect(calls: Calls, name: str) -> Json | None:
    try:
        found: Json = await calls.quick(lambda client: client.inspect_volume(name))
    except Refusal as refusal:
        if refusal.status == 404:
            return None
        raise failures.refused(refusal) from refusal
    return found


async def _is_half_made(calls: Calls, found: Json) -> bool:
    """An engine that died while it made a volume has its folder and, beside that, its options; its labels, and the options that the
    API tells, are written last (moby, volume/service: `setMeta`). One that was made whole has the options in both places or in none.
    """
    if _labels(found) or found.get("Options"):
        return False
    return await calls.outside_engine(partial(_has_options_and_no_files, _folder_of(found)))


def _has_options_and_no_files(folder: Path) -> bool:
    try:
        return (folder.parent / "opts.json").exists() and not any(folder.iterdir())
    except OSError:
        return False


def _folder_of(found: Json) -> Path:
    return Path(found.get("Mountpoint") or "")


def _volume(found: Json) -> QuotaVolume:
    device = (found.get("Options") or {}).get("device") or ""
    return QuotaVolume(found["Name"], _labels(found).get(JOB_LABEL) or "", device)


def _labels(found: Json) -> Mapping[str, str]:
    return found.get("Labels") or {}
