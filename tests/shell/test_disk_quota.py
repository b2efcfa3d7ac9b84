"""A job with `disk`: its room is reserved before the grant, its volume is on its own device at each start, and nothing is left."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
import structlog

from agent.aio import beside
from agent.core.container import QuotaVolume, VolumeMount
from agent.interfaces import EngineRefusedError
from agent.jobs.health import CheckState
from agent.jobs.quota_care import QuotaCare
from agent.jobs.quota_probe import Device, leftovers_probe, quota_probe
from tests.contract.engine_contract import bare_plan
from tests.fakes.engine import FakeEngine, Fate, Program
from tests.shell.world import AGENT, Outcome, Phase, World

pytestmark = pytest.mark.looptime

GIB = 2**30
DISK = {"disk": "4GiB"}


@pytest.fixture
async def world() -> World:
    world = World(concurrency=8)
    world.engine.program = Program(seconds=20)
    return world


async def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.1)


def mounts_of(engine: FakeEngine) -> list[object]:
    return [mount for box in engine.boxes.values() if box.plan for mount in box.plan.mounts]


async def test_the_container_gets_a_folder_of_its_own_volume_and_no_folder_of_the_host(world: World) -> None:
    await world.start()
    job_id = await world.submit(**DISK)
    await world.until_phase(job_id, Phase.RUNNING)
    (mount,) = mounts_of(world.engine)
    assert isinstance(mount, VolumeMount)
    assert mount.volume == QuotaVolume(f"gpu-agent-{job_id}", job_id, world.quotas.devices[job_id])
    assert world.engine.devices_at_start == [(job_id, world.quotas.devices[job_id])]
    assert world.quotas.images[job_id].taken_bytes == 4 * GIB
    await world.crash()


async def test_a_job_without_disk_gets_no_volume(world: World) -> None:
    await world.start()
    await world.until_phase(await world.submit(), Phase.RUNNING)
    assert world.engine.volumes_by_name == {}
    assert world.quotas.images == {}
    await world.crash()


async def test_after_the_end_volume_and_device_are_gone_and_unused_room_is_given_back(world: World) -> None:
    await world.start()
    job_id = await world.submit(**DISK)
    world.quotas.written[job_id] = 7
    job = await world.finish(job_id)
    assert job.outcome is Outcome.SUCCEEDED
    await world.quiesce()
    assert world.engine.volumes_by_name == {}
    assert world.quotas.devices == {}
    assert world.quotas.images[job_id].taken_bytes == 7
    await world.assert_all_is_well()
    await world.crash()


async def test_a_second_attempt_has_the_same_volume(world: World) -> None:
    world.engine.program = Program(seconds=20, code=3)
    await world.start()
    job_id = await world.submit(**DISK, retry={"count": 1, "backoff": 60})
    assert (await world.finish(job_id)).attempt == 2
    assert len(world.engine.devices_at_start) == 2
    assert len(set(world.engine.devices_at_start)) == 1
    await world.crash()


async def test_without_room_a_job_waits_for_disk_holds_nothing_and_goes_on_when_room_comes_back(
    world: World,
) -> None:
    world.quotas.disk_bytes = 6 * GIB
    await world.start()
    first = await world.submit(**DISK)
    await world.until_phase(first, Phase.RUNNING)
    second = await world.submit(**DISK)
    waiting = await world.until(second, lambda job: job.waiting_words is not None)
    assert (waiting.phase, waiting.waiting_for, waiting.lease) == (Phase.QUEUED, "disk", None)
    assert waiting.waiting_words == "4.0 GiB of disk are wanted, 2 GiB can be reserved"
    small, none = await world.submit(disk="1GiB"), await world.submit()
    await world.until_phase(none, Phase.RUNNING)
    assert (await world.job(small)).waiting_for == "turn"
    for job_id in (first, second, small):
        assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_job_reserves_nothing_while_its_queue_is_full_or_its_time_has_not_come(world: World) -> None:
    world.settings.queue_limits = {"default": 1}
    await world.start()
    await world.until_phase(await world.submit(), Phase.RUNNING)
    waiting = await world.submit(**DISK)
    await world.until(waiting, lambda job: job.waiting_for == "queue")
    assert world.quotas.images == {}
    await world.finish(waiting)
    await world.crash()


async def test_a_job_that_is_cancelled_while_it_waits_for_gpus_gives_its_room_back(world: World) -> None:
    await world.start()
    job_id = await world.submit(**DISK, gpus=1)
    await world.until(job_id, lambda job: job.has_disk)
    await world.cancel(job_id)
    assert (await world.finish(job_id)).outcome is Outcome.CANCELLED
    await world.quiesce()
    assert world.quotas.images[job_id].is_released
    await world.crash()


async def test_a_host_that_can_make_no_quota_fails_the_job_as_its_own_fault(world: World) -> None:
    world.quotas.broken = "mke2fs is not installed"
    await world.start()
    job = await world.finish(await world.submit(**DISK))
    assert (job.outcome, job.reason.code if job.reason else None) == (Outcome.FAILED, "quota_volume_failed")
    assert job.reason is not None
    assert job.reason.message == "mke2fs is not installed"
    assert world.engine.starts == []
    await world.crash()


async def test_a_strangers_volume_of_that_name_is_left_alone(world: World) -> None:
    await world.start()
    job_id = await world.submit(**DISK, not_before="2100-01-01T00:00:00Z")
    await world.cancel(job_id)
    await world.finish(job_id)
    next_id = f"00000000-0000-7000-8000-{world.count + 1:012d}"
    world.engine.strangers_volumes.add(f"gpu-agent-{next_id}")
    job = await world.finish(await world.submit(**DISK))
    assert (job.outcome, job.reason.code if job.reason else None) == (Outcome.FAILED, "quota_volume_failed")
    assert world.engine.starts == []
    await world.crash()


async def test_after_a_reboot_the_next_attempt_has_the_volume_anew_on_the_new_device(world: World) -> None:
    await world.start()
    job_id = await world.submit(**DISK, retry={"count": 1, "backoff": 0})
    await world.until_phase(job_id, Phase.RUNNING)
    await world.crash()
    world.engine.reboot()
    world.quotas.reboot()
    world.clock.boot_id = "boot-2"
    await world.start()
    assert (await world.finish(job_id)).attempt == 2
    assert world.engine.devices_at_start == [(job_id, "/dev/loop1"), (job_id, "/dev/loop2")]
    await world.crash()


async def test_a_container_is_made_anew_and_not_started_where_its_volume_is_on_another_device_by_now(
    world: World,
) -> None:
    def lose_the_device(name: str, _target: str) -> None:
        if name == "create" and not world.engine.starts:
            world.quotas.reboot()
            world.engine.after = lambda _name, _target: None

    world.engine.after = lose_the_device
    await world.start()
    job_id = await world.submit(**DISK)
    job = await world.finish(job_id)
    assert (job.outcome, job.attempt) == (Outcome.SUCCEEDED, 1)
    assert sum(name == "create" for name, _ in world.engine.calls) == 2
    assert world.engine.devices_at_start == [(job_id, "/dev/loop2")]
    await world.crash()


async def test_a_device_that_can_not_be_had_any_more_at_the_start_fails_it_as_the_hosts_fault(
    world: World,
) -> None:
    def break_quotas(name: str, _target: str) -> None:
        if name == "create":
            world.quotas.broken = "no loop device can be had"

    world.engine.after = break_quotas
    await world.start()
    job = await world.finish(await world.submit(**DISK))
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "quota_volume_failed")
    assert world.engine.boxes == {}
    await world.crash()


async def test_a_quota_that_vanished_before_the_start_fails_it_as_a_missing_folder(world: World) -> None:
    def remove_image(name: str, _target: str) -> None:
        if name == "create":
            for job_id in list(world.quotas.images):
                world.quotas.forget(job_id)

    world.engine.after = remove_image
    await world.start()
    job = await world.finish(await world.submit(**DISK))
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "job_folder_missing")
    await world.crash()


async def test_a_volume_that_the_engine_refuses_fails_the_start_and_holds_no_lease_for_ever(
    world: World,
) -> None:
    def refuse(name: str, _target: str) -> Fate:
        if name == "ensure_volume":
            raise EngineRefusedError("a container holds the volume, which has to be made anew")
        return Fate.WORKS

    world.engine.fates = refuse
    await world.start()
    job = await world.finish(await world.submit(**DISK))
    assert job.reason is not None
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "engine_refused")
    await world.crash()


async def test_a_volume_and_a_device_without_a_row_are_found_and_removed(world: World) -> None:
    world.engine.volumes_by_name["gpu-agent-x"] = QuotaVolume("gpu-agent-x", "no-such-job", "/dev/loop9")
    world.quotas.devices["no-such-job"] = "/dev/loop9"
    await world.start()
    await until(lambda: not world.engine.volumes_by_name and not world.quotas.devices)
    await world.crash()


async def test_what_is_left_of_an_ended_job_goes_at_the_next_start(world: World) -> None:
    await world.start()
    job_id = await world.submit(**DISK)
    await world.until_phase(job_id, Phase.RUNNING)
    volume = world.engine.volumes_by_name[f"gpu-agent-{job_id}"]
    await world.finish(job_id)
    await world.quiesce()
    await world.crash()
    # As if the daemon had died before it came to it.
    world.engine.volumes_by_name[volume.name] = volume
    world.quotas.devices[job_id] = volume.device
    await world.start()
    await until(lambda: not world.engine.volumes_by_name and not world.quotas.devices)
    await world.crash()


async def test_a_device_is_not_let_go_as_long_as_a_container_holds_the_volume_on_it(world: World) -> None:
    """A stray of a job that is over: the janitor, who removes it, is not here."""
    mount = VolumeMount(QuotaVolume("gpu-agent-stray", "stray", "/dev/loop9"), "/outputs")
    world.quotas.devices["stray"] = "/dev/loop9"
    image = world.engine.images["busybox"].id
    stray = await world.engine.create(replace(bare_plan(AGENT, "stray", image), mounts=(mount,)), {})
    care = QuotaCare(world.engine, world.store, world.quotas)
    async with beside(care.clean(), "quota care"):
        await world.quiesce(100)
        assert world.quotas.devices == {"stray": "/dev/loop9"}
        await world.engine.remove(stray)
        await until(lambda: not world.engine.volumes_by_name and not world.quotas.devices)


async def test_a_quota_that_can_not_be_released_is_told_tried_hourly_and_holds_up_no_other(
    world: World,
) -> None:
    await world.start()
    damaged, sound = await world.submit(**DISK), await world.submit(**DISK)
    world.quotas.damaged.add(damaged)
    for job_id in (damaged, sound):
        await world.finish(job_id)
    await world.quiesce(120)
    assert world.shell is not None
    assert world.shell.quota_care.stuck == {damaged}
    assert world.quotas.devices == {}
    assert world.quotas.images[sound].is_released
    assert world.quotas.releases.count(damaged) == 1
    await world.quiesce(3700)
    assert world.quotas.releases.count(damaged) == 2
    world.quotas.forget(damaged)
    await world.quiesce()
    assert world.shell.quota_care.stuck == frozenset()
    await world.crash()


async def test_a_volume_that_the_engine_refuses_to_remove_is_told_and_holds_up_no_other(world: World) -> None:
    await world.start()
    refused, sound = await world.submit(**DISK), await world.submit(**DISK)
    world.engine.unremovable_volumes.add(f"gpu-agent-{refused}")
    for job_id in (refused, sound):
        await world.finish(job_id)
    with structlog.testing.capture_logs() as lines:
        await world.quiesce(300)
    assert world.shell is not None
    assert world.shell.quota_care.stuck == {refused}
    assert [volume.job for volume in world.engine.volumes_by_name.values()] == [refused]
    assert world.quotas.images[sound].is_released
    assert set(world.quotas.devices) == {refused}, "its volume is on it still"
    told = [line["log_level"] for line in lines if line["event"] == "volume.not_removed"]
    assert told.count("warning") <= 1
    world.engine.unremovable_volumes.clear()
    await world.quiesce(60)
    assert world.shell.quota_care.stuck == frozenset()
    assert (world.engine.volumes_by_name, world.quotas.devices) == ({}, {})
    await world.crash()


async def test_what_the_host_took_of_a_running_jobs_room_is_taken_back(world: World) -> None:
    await world.start()
    job_id = await world.submit(**DISK, timeout=600)
    world.engine.programs[job_id] = Program(seconds=300)
    await world.until_phase(job_id, Phase.RUNNING)
    world.quotas.images[job_id].taken_bytes = 0
    await world.quiesce()
    assert world.quotas.images[job_id].taken_bytes == 4 * GIB
    await world.crash()


@pytest.mark.parametrize(
    ("broken", "stuck", "state"),
    [
        (None, 0, CheckState.OK),
        ("mke2fs is not installed", 0, CheckState.WARN),
        (None, 2, CheckState.WARN),
    ],
)
async def test_the_check_says_whether_this_host_can_hold_a_job_to_a_quota(
    world: World, broken: str | None, stuck: int, state: CheckState
) -> None:
    world.quotas.broken = broken
    found = await quota_probe(world.quotas.why_impossible, lambda: stuck)()
    assert found.state is state
    assert bool(found.remedy) is (state is CheckState.WARN)


async def test_the_doctor_names_what_is_left_and_how_it_goes() -> None:
    volumes = [QuotaVolume(f"gpu-agent-{job}", job, "/dev/loop1") for job in ("over", "runs")]

    async def some_volumes() -> list[QuotaVolume]:
        return volumes

    async def devices() -> list[Device]:
        return [
            Device("over", "/dev/loop1", is_kept=True),
            Device("runs", "/dev/loop2", is_kept=True, holders=("1 (init)",)),
            Device("read", "/dev/loop3", is_kept=False),
            Device("lost", "/dev/loop4", is_kept=False, holders=("77 (runc:[2:INIT])",)),
        ]

    async def running() -> frozenset[str]:
        return frozenset({"runs"})

    async def all_of_them() -> frozenset[str]:
        return frozenset({"runs", "over", "lost"})

    assert (await leftovers_probe(some_volumes, devices, all_of_them)()).state is CheckState.OK
    found = await leftovers_probe(some_volumes, devices, running)()
    assert found.state is CheckState.WARN
    assert found.evidence.endswith(
        ": loop device /dev/loop1, loop device /dev/loop4 (mounted by 77 (runc:[2:INIT])), volume gpu-agent-over"
    )
    assert "docker volume rm gpu-agent-over; losetup --detach /dev/loop1." in found.remedy
    assert "kill -9" in found.remedy
    assert "loop2" not in found.evidence + found.remedy
