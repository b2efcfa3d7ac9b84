"""jobs/quota — what a job with `disk` needs before its container: room, a device, the engine's volume on it. Starts nothing."""

import structlog

from agent.core.container import QuotaVolume
from agent.core.job import FailureKind, Job, StartFailure
from agent.errors import AgentError
from agent.interfaces import EngineRefusedError, JobFolderMissingError, QuotaUnavailableError, Shortage
from agent.jobs.tools import Tools

log = structlog.get_logger()

_GIB = 1 << 30


async def reserve(tools: Tools, job: Job) -> Shortage | StartFailure | None:
    """None: its room is reserved, and stays so until its outputs are forgotten."""
    try:
        return await tools.quotas.reserve(job.id, job.spec.disk or 0)
    except (QuotaUnavailableError, JobFolderMissingError) as error:
        return volume_failed(error)


async def volume_for(tools: Tools, job: Job) -> QuotaVolume:
    """What the container gets at its outputs' path.

    The device is looked for each time, and the volume made anew where it is on another: numbers change with a boot. Raises
    QuotaUnavailableError, JobFolderMissingError, NameTakenError, EngineRefusedError, EngineUnavailableError.
    """
    # Somebody may have removed the image since it was reserved; what is there is not made again.
    shortage = await tools.quotas.reserve(job.id, job.spec.disk or 0)
    if shortage is not None:
        raise QuotaUnavailableError(f"the room that was reserved is gone: {words_of(shortage)}")
    volume = await _volume(tools, job)
    await tools.engine.ensure_volume(volume)
    log.debug("volume.ready", device=volume.device)
    return volume


async def find_move(tools: Tools, job: Job) -> StartFailure | None:
    """Just before a start: whether the volume is on the job's own device still. On another it would be another job's files.

    Raises EngineUnavailableError.
    """
    try:
        wanted = await _volume(tools, job)
        found = await tools.engine.find_volume(wanted.name)
    except (QuotaUnavailableError, JobFolderMissingError, EngineRefusedError) as error:
        return volume_failed(error)
    if found == wanted:
        return None
    seen = "gone" if found is None else f"on {found.device}"
    return StartFailure(
        FailureKind.VOLUME_MOVED,
        "quota_volume_moved",
        f"its volume is {seen}, its file system on {wanted.device}",
    )


async def _volume(tools: Tools, job: Job) -> QuotaVolume:
    return QuotaVolume(job.volume_name, job.id, await tools.quotas.attach(job.id))


def volume_failed(error: AgentError) -> StartFailure:
    match error:
        case JobFolderMissingError():
            return StartFailure(FailureKind.FOLDER, error.code, str(error))
        case EngineRefusedError():  # it may do so a moment later
            return StartFailure(FailureKind.ENGINE, error.code, str(error))
        case _:
            return StartFailure(FailureKind.VOLUME, "quota_volume_failed", str(error))


def words_of(shortage: Shortage) -> str:
    """In steps that a disk in use does not take each second: each change is a write of the row."""
    wanted, free = shortage.wanted_bytes / _GIB, shortage.free_bytes / _GIB
    return f"{wanted:.1f} GiB of disk are wanted, {free:.0f} GiB can be reserved"
