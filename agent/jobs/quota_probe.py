"""jobs/quota_probe — what /health and the doctor look at of jobs with `disk`: whether the host can run any, and what is left of some. Mends nothing."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

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
            remedy = "The log says why for each: after volume.not_removed mend the engine; after disk.not_released delete the job."
            return Finding(CheckState.WARN, told, remedy)
        return Finding(CheckState.OK, "this host can hold jobs to a quota")

    return probe


@dataclass(frozen=True, slots=True)
class Device:
    """A loop device on a quota. `is_kept`: it stays until it is let go. `holders`: processes in whose namespace it is mounted."""

    job: str
    path: str
    is_kept: bool
    holders: tuple[str, ...] = ()


def leftovers_probe(
    volumes: Callable[[], Awaitable[Sequence[QuotaVolume]]],
    devices: Callable[[], Awaitable[Sequence[Device]]],
    open_jobs: Callable[[], Awaitable[frozenset[str]]],
) -> Probe:
    """Volumes and devices of jobs that are over or unknown. `open_jobs`: those that may need theirs."""

    async def probe() -> Finding:
        found_volumes, found_devices = await volumes(), await devices()
        # Read after the two: what was made in between is of a job that is in it.
        needed = await open_jobs()
        stray_volumes = [volume for volume in found_volumes if volume.job not in needed]
        # The agent's own readers show in no namespace, and their devices go with them.
        stray_devices = [
            device
            for device in found_devices
            if device.job not in needed and (device.is_kept or device.holders)
        ]
        if not stray_volumes and not stray_devices:
            return Finding(CheckState.OK, "no volume and no loop device is left of a job that is over")
        told = [f"volume {volume.name}" for volume in stray_volumes] + [_told(one) for one in stray_devices]
        evidence = f"left of jobs that are over: {', '.join(sorted(told))}"
        return Finding(CheckState.WARN, evidence, _remedy(stray_volumes, stray_devices))

    return probe


def _told(device: Device) -> str:
    held = f" (mounted by {', '.join(device.holders)})" if device.holders else ""
    return f"loop device {device.path}{held}"


def _remedy(volumes: Sequence[QuotaVolume], devices: Sequence[Device]) -> str:
    commands = [
        *(f"docker volume rm {volume.name}" for volume in volumes),
        *(f"losetup --detach {device.path}" for device in devices if device.is_kept),
    ]
    by_hand = f"; if they stay: {'; '.join(commands)}." if commands else "."
    remedy = f"A running agent takes them away within a minute{by_hand}"
    if not any(device.holders for device in devices):
        return remedy
    return (
        f"{remedy} A device goes with the last process that has it mounted: runc:[2:INIT] is what an engine that was "
        "killed within a start has lost, and may be ended (kill -9)."
    )
