"""A quota volume in a container of a real engine: what is written is bounded and harmless, and a start never falls back."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DockerStage

from agent.adapters.folders import DiskFolders
from agent.core.container import ContainerPlan, QuotaVolume, VolumeMount
from agent.core.job import FailureKind
from agent.interfaces import NameTakenError, StartFailedError
from tests.contract.engine_contract import until_exited
from tests.contract.folders_on_disk import JOB, NO_SECRETS, OTHER, PLENTY, RECORD, opened
from tests.loops import loops_of_state, mounted, needs_loops

pytestmark = needs_loops

MIB = 1 << 20
SIZE = 64 * MIB
NAME = f"gpu-agent-{JOB}"


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        for job_id in (JOB, OTHER):
            await folders.claim(job_id, RECORD, NO_SECRETS)
            await folders.quotas.reserve(job_id, SIZE)
        yield folders
        for job_id in (JOB, OTHER):
            await folders.remove(job_id)


async def plan_of(stage: DockerStage, folders: DiskFolders, script: str) -> ContainerPlan:
    volume = QuotaVolume(NAME, JOB, await folders.quotas.attach(JOB))
    await stage.engine.ensure_volume(volume)
    return replace(stage.shell(JOB, script), mounts=(VolumeMount(volume, "/outputs"),))


async def log_of(stage: DockerStage, plan: ContainerPlan) -> str:
    container = await stage.run(plan)
    await until_exited(stage.engine, container)
    raw = b"".join([chunk async for chunk in stage.engine.read_logs(container, 0)])
    assert await stage.engine.remove(container)
    return "\n".join(line.partition(b"Z ")[2].decode() for line in raw.splitlines())


async def test_a_job_that_fills_its_outputs_is_told_at_its_quota(
    stage: DockerStage, folders: DiskFolders
) -> None:
    script = (
        "dd if=/dev/zero of=/outputs/much bs=1M count=200 2>&1; ls -l /outputs | wc -l; id -u; ls /outputs"
    )
    log = await log_of(stage, await plan_of(stage, folders, script))
    assert "No space left on device" in log
    (much,) = (await folders.list_outputs(JOB, PLENTY)).files
    assert SIZE * 0.7 < much.size_bytes < SIZE


async def test_any_user_of_the_image_may_write_and_sees_its_folder_alone(
    stage: DockerStage, folders: DiskFolders
) -> None:
    plan = await plan_of(stage, folders, "touch /outputs/mine && ls -a /outputs; ls -lnd /outputs/mine")
    log = await log_of(stage, replace(plan, user="1000:1000"))
    assert log.split()[:3] == [".", "..", "mine"]
    assert "1000" in log


async def test_neither_setuid_nor_devices_work_on_it(
    stage: DockerStage, folders: DiskFolders, tmp_path: Path
) -> None:
    plan = await plan_of(stage, folders, "grep ' /outputs ' /proc/mounts; head -c 1 /outputs/zero 2>&1")
    with mounted(await folders.quotas.attach(JOB), tmp_path / "host") as root:
        # One that every container may open, so that nothing but the mount is in its way.
        os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    told, tried = (await log_of(stage, plan)).splitlines()
    assert {"rw", "nosuid", "nodev"} <= set(told.split()[3].split(","))
    assert "Permission denied" in tried


async def test_a_second_container_finds_what_the_first_one_wrote(
    stage: DockerStage, folders: DiskFolders
) -> None:
    await log_of(stage, await plan_of(stage, folders, "echo one > /outputs/checkpoint"))
    again = await plan_of(stage, folders, "cat /outputs/checkpoint")
    assert await log_of(stage, replace(again, name="gpu-agent-again-2", attempt=2)) == "one"


async def test_a_device_that_is_gone_or_holds_no_file_system_is_a_start_failure(
    stage: DockerStage, folders: DiskFolders
) -> None:
    for number, device in enumerate(("/dev/loop999", "/dev/zero")):
        volume = QuotaVolume(NAME, JOB, device)
        await stage.engine.ensure_volume(volume)
        mount = VolumeMount(volume, "/outputs")
        plan = replace(stage.shell(JOB, "true"), name=f"gpu-agent-x-{number}", mounts=(mount,))
        with pytest.raises(StartFailedError) as raised:
            await stage.run(plan)
        assert raised.value.failure.kind is FailureKind.VOLUME
        left = await stage.engine.find(plan.name)
        assert left is not None
        await stage.engine.remove(left.id)


async def test_a_volume_that_somebody_removed_is_made_again_on_its_device_and_never_on_the_host(
    stage: DockerStage, folders: DiskFolders
) -> None:
    plan = await plan_of(stage, folders, "echo x > /outputs/kept")
    assert await stage.engine.remove_volume(NAME)
    await log_of(stage, plan)
    assert [file.path for file in (await folders.list_outputs(JOB, PLENTY)).files] == ["kept"]


async def test_what_the_image_has_at_that_path_is_not_copied_in(
    stage: DockerStage, folders: DiskFolders
) -> None:
    plan = await plan_of(stage, folders, "ls -A /etc")
    (mount,) = plan.mounts
    assert isinstance(mount, VolumeMount)
    seen = (await log_of(stage, replace(plan, mounts=(replace(mount, target="/etc"),)))).split()
    assert "hosts" in seen, "the engine's own files are there"
    assert "passwd" not in seen


async def test_the_device_is_free_as_soon_as_the_container_and_the_volume_are_gone(
    stage: DockerStage, folders: DiskFolders, tmp_path: Path
) -> None:
    await log_of(stage, await plan_of(stage, folders, "echo x > /outputs/file"))
    assert await stage.engine.remove_volume(NAME)
    await folders.quotas.release(JOB)
    async with asyncio.timeout(10):
        while loops_of_state(tmp_path / "state"):
            await asyncio.sleep(0.02)
    assert [file.path for file in (await folders.list_outputs(JOB, PLENTY)).files] == ["file"]


async def test_an_engine_that_was_restarted_under_a_job_lets_its_volume_go_at_the_end(
    stage: DockerStage, folders: DiskFolders, tmp_path: Path
) -> None:
    container = await stage.run(await plan_of(stage, folders, "echo ready; while :; do sleep 0.1; done"))
    await stage.until_ready(container)
    await stage.go_down()
    await stage.come_up()
    assert not await stage.engine.remove_volume(NAME)
    await stage.engine.kill(container, "SIGKILL")
    await until_exited(stage.engine, container)
    assert await stage.engine.remove(container)
    assert await stage.engine.remove_volume(NAME)
    await folders.quotas.release(JOB)
    async with asyncio.timeout(10):
        while loops_of_state(tmp_path / "state"):
            await asyncio.sleep(0.02)


async def test_an_engine_that_was_killed_within_a_start_deletes_nothing_and_lets_the_volume_go(
    stage: DockerStage, folders: DiskFolders, tmp_path: Path
) -> None:
    """It leaves the mount that it made; at its next start it must not empty what is mounted there."""
    plan = await plan_of(stage, folders, "echo x > /outputs/kept")
    await log_of(stage, plan)
    left = stage.private.root / "data" / "volumes" / NAME / "_data"
    await stage.go_down()
    device = await folders.quotas.attach(JOB)
    for _ in range(2):
        await mount_and_leave(device, left)
    await stage.come_up()
    assert await log_of(stage, replace(plan, name="gpu-agent-again-2", command=("ls", "/outputs"))) == "kept"
    assert await stage.engine.remove_volume(NAME)
    await folders.quotas.release(JOB)
    assert [file.path for file in (await folders.list_outputs(JOB, PLENTY)).files] == ["kept"]


async def test_a_volume_in_whose_removal_the_engine_died_goes_all_the_same(
    stage: DockerStage, folders: DiskFolders
) -> None:
    """Its folder is gone, and the engine knows it still: by itself it refuses for ever, since there is nothing to unmount."""
    await log_of(stage, await plan_of(stage, folders, "echo x > /outputs/kept"))
    await stage.go_down()
    (stage.private.root / "data" / "volumes" / NAME / "_data").rmdir()
    await stage.come_up()
    assert [volume.name for volume in await stage.engine.volumes()] == [NAME]
    assert await stage.engine.remove_volume(NAME)
    assert await stage.engine.volumes() == []
    await folders.quotas.release(JOB)
    assert [file.path for file in (await folders.list_outputs(JOB, PLENTY)).files] == ["kept"]


async def test_a_volume_in_whose_making_the_engine_died_is_made_anew(
    stage: DockerStage, folders: DiskFolders
) -> None:
    """As it lies on the disk then: the driver has written its options, and whose it is the engine has not."""
    device = await folders.quotas.attach(JOB)
    await stage.go_down()
    made = stage.private.root / "data" / "volumes" / NAME
    (made / "_data").mkdir(parents=True)
    options = {"MountType": "ext4", "MountOpts": "", "MountDevice": device, "Quota": {"Size": 0}}
    (made / "opts.json").write_text(json.dumps(options))
    await stage.come_up()
    assert await log_of(stage, await plan_of(stage, folders, "echo x > /outputs/kept; echo done")) == "done"
    assert [volume.name for volume in await stage.engine.volumes()] == [NAME]


async def test_a_strangers_volume_of_that_name_is_let_alone(stage: DockerStage, folders: DiskFolders) -> None:
    await stage.go_down()
    theirs = stage.private.root / "data" / "volumes" / NAME / "_data"
    theirs.mkdir(parents=True)
    (theirs / "precious").touch()
    (theirs.parent / "opts.json").write_text("{}")
    await stage.come_up()
    with pytest.raises(NameTakenError):
        await plan_of(stage, folders, "true")
    assert (theirs / "precious").exists()


async def mount_and_leave(device: str, target: Path) -> None:
    done = await asyncio.create_subprocess_exec(
        "mount", "-t", "ext4", "-o", "nosuid,nodev", device, str(target)
    )
    assert await done.wait() == 0


async def test_an_engine_whose_storage_bounds_no_layer_runs_the_job_all_the_same(stage: DockerStage) -> None:
    """The storage of this engine is none that can: an overlay on something else than XFS with project quotas."""
    for number in range(2):
        plan = replace(
            stage.shell("layer", "echo up"), storage_bytes=1 << 30, name=f"gpu-agent-layer-{number}"
        )
        assert await log_of(stage, plan) == "up"
