"""jobs/quota_probe — what /health and the doctor look at of jobs with `disk`: whether the host can run any, and what is left of some. Mends nothing."""

from collections.abc import Awaitable, Callable, Sequence

from agent.core.container import QuotaVolume
from agent.jobs.health import CheckState, Finding, Probe

MEND_HOST = "Jobs with `disk` fail until then, and no others; see docs/operations.md, Disk quotas."


def quota_probe(why_impossible: Callable[[], Awaitable[str | None]], stuck: Callable[[], int]) -> Probe:
    """`why_impossible`: what this host lacks. `stuck`: how many quotas of ended jobs could not be released."""

    async def probe() -> Finding:
        why = await why_impossible()
        if why is not None:
            return Finding(CheckState.WARN, why, MEND_HOST)
        if count := stuck():
            told = f"the disk quotas of {count} ended jobs can't be released, and keep their room"
            remedy = "The log says why for each (disk.not_released); delete those jobs to have the room back."
            return Finding(CheckState.WARN, told, remedy)
        return Finding(CheckState.OK, "this host can hold jobs to a quota")

    return probe


def leftovers_probe(
    volumes: Callable[[], Awaitable[Sequence[QuotaVolume]]],
    devices: Callable[[], Awaitable[Sequence[tuple[str, str]]]],
    open_jobs: Callable[[], Awaitable[frozenset[str]]],
) -> Probe:
    """Volumes and devices of jobs that are over or unknown. `devices`: job and device; `open_jobs`: those that may need theirs."""

    async def probe() -> Finding:
        found_volumes, found_devices = await volumes(), await devices()
        # Read after the two: what was made in between is of a job that is in it.
        needed = await open_jobs()
        stray_volumes = sorted(volume.name for volume in found_volumes if volume.job not in needed)
        stray_devices = sorted(device for job, device in found_devices if job not in needed)
        if not stray_volumes and not stray_devices:
            return Finding(CheckState.OK, "no volume and no loop device is left of a job that is over")
        told = ", ".join(
            part for part in (_told("volumes", stray_volumes), _told("loop devices", stray_devices)) if part
        )
        commands = [
            *(f"docker volume rm {name}" for name in stray_volumes),
            *(f"losetup --detach {device}" for device in stray_devices),
        ]
        remedy = f"A running agent takes them away within a minute. If they stay: {'; '.join(commands)}."
        return Finding(CheckState.WARN, f"left of jobs that are over: {told}", remedy)

    return probe


def _told(what: str, names: Sequence[str]) -> str:
    return f"{what} {', '.join(names)}" if names else ""
