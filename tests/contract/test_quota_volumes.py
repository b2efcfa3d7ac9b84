"""Quota volumes on this host's own loop devices: what is in them, who sees them, what a crash, a full host and damage do."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run

import pytest

from agent.adapters.folders import DiskFolders, images, jobs
from agent.adapters.folders.loops import Keep
from agent.adapters.folders.names import IMAGE
from agent.adapters.folders.roots import MOST_IDLE
from agent.core.disk_guard import FLOOR_BYTES
from agent.interfaces import JobFolderMissingError, QuotaUnavailableError
from tests.contract.folders_on_disk import (
    JOB,
    NO_SECRETS,
    OTHER,
    PLENTY,
    RECORD,
    die_at,
    names,
    opened,
    opened_state,
    outputs,
    whole,
)
from tests.loops import loops_of_state, mounted, needs_loops

pytestmark = [needs_loops, pytest.mark.slow]

MIB = 1 << 20
SIZE = 64 * MIB


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        await folders.quotas.reserve(JOB, SIZE)
        yield folders
        for job_id in await folders.ids():
            await folders.remove(job_id)
    assert loops_of_state(tmp_path / "state") == []


def image(path: Path, job_id: str = JOB) -> Path:
    return path / "state" / "jobs" / job_id / IMAGE


def facts_of(file: Path) -> str:
    return run(["dumpe2fs", "-h", str(file)], capture_output=True, text=True, check=True).stdout


def mounts_of_all() -> str:
    return Path("/proc/self/mountinfo").read_text()


async def listed(folders: DiskFolders, job_id: str = JOB) -> dict[str, int]:
    return {file.path: file.size_bytes for file in (await folders.list_outputs(job_id, PLENTY)).files}


async def write(folders: DiskFolders, tmp_path: Path, content: bytes, job_id: str = JOB) -> None:
    """As a container does, through a mount of its own."""
    with mounted(await folders.quotas.attach(job_id), tmp_path / "engine") as root:
        (root / "file").write_bytes(content)


async def test_the_whole_size_is_reserved_and_the_folder_is_anybodys(
    folders: DiskFolders, tmp_path: Path
) -> None:
    status = image(tmp_path).stat()
    assert status.st_size == SIZE <= status.st_blocks * 512
    assert names(image(tmp_path).parent) == ["outputs", "q.img", "secrets", "spec.json"]
    with mounted(await folders.quotas.attach(JOB), tmp_path / "engine") as root:
        assert names(root) == []
        assert root.stat().st_mode & 0o7777 == 0o1777
        room = os.statvfs(root)
        assert room.f_bavail * room.f_frsize > SIZE * 0.75
    assert re.search(r"^Reserved block count: +0$", facts_of(image(tmp_path)), re.MULTILINE)


async def test_what_the_job_writes_is_read_while_it_writes_and_after_it(
    folders: DiskFolders, tmp_path: Path
) -> None:
    assert await listed(folders) == {}
    with mounted(await folders.quotas.attach(JOB), tmp_path / "engine") as root:
        (root / "file").write_bytes(b"one")
        assert await listed(folders) == {"file": 3}
        assert await whole(await folders.open_output(JOB, "file")) == b"one"
    await folders.quotas.release(JOB)
    assert await whole(await folders.open_output(JOB, "file")) == b"one"
    assert names(outputs(tmp_path)) == [], "nothing of it is on the host's own disk"


async def test_the_agents_mount_is_seen_by_nobody_and_allows_nothing(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await write(folders, tmp_path, b"x")
    reader = await folders.open_output(JOB, "file")
    (loop,) = loops_of_state(tmp_path / "state")
    assert loop.device not in mounts_of_all()
    with folders._state.roots.opened(folders._state.jobs, JOB) as root:
        flags = os.fstatvfs(root).f_flag
        assert flags & os.ST_RDONLY
        assert flags & os.ST_NOSUID
        assert flags & os.ST_NODEV
        assert flags & os.ST_NOEXEC
        with pytest.raises(OSError, match="Read-only"):
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=root)
    await reader.close()


async def test_a_link_of_the_jobs_leads_nowhere(folders: DiskFolders, tmp_path: Path) -> None:
    with mounted(await folders.quotas.attach(JOB), tmp_path / "engine") as root:
        (root / "up").symlink_to("../..")
        (root / "away").symlink_to("/etc/passwd")
    listing = await folders.list_outputs(JOB, PLENTY)
    assert (listing.files, {entry.path for entry in listing.skipped}) == ((), {"up", "away"})


async def test_a_finished_job_has_a_device_only_while_somebody_reads(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await write(folders, tmp_path, b"x")
    await folders.quotas.release(JOB)
    assert loops_of_state(tmp_path / "state") == []
    assert await listed(folders) == {"file": 1}
    assert len(loops_of_state(tmp_path / "state")) == 1
    assert await folders.quotas.held() == set(), "it goes by itself"
    folders._state.roots.let_go_idle(0)
    assert loops_of_state(tmp_path / "state") == []


async def test_a_reader_in_the_middle_of_a_file_is_not_cut_off_by_a_release_or_by_idleness(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await write(folders, tmp_path, b"x" * MIB)
    reader = await folders.open_output(JOB, "file")
    await folders.quotas.release(JOB)
    folders._state.roots.let_go_idle(0)
    assert await whole(reader) == b"x" * MIB
    assert loops_of_state(tmp_path / "state") == []


async def test_a_crawl_over_many_finished_jobs_holds_few_devices(tmp_path: Path) -> None:
    ids = [f"0190b6a0-0000-7000-8000-{number:012d}" for number in range(MOST_IDLE + 4)]
    async with opened(tmp_path) as folders:
        for job_id in ids:
            await folders.claim(job_id, RECORD, NO_SECRETS)
            await folders.quotas.reserve(job_id, 32 * MIB)
            await listed(folders, job_id)
        assert len(loops_of_state(tmp_path / "state")) <= MOST_IDLE + 1
    assert loops_of_state(tmp_path / "state") == []


async def test_a_reader_that_came_first_takes_no_device_from_the_job(
    folders: DiskFolders, tmp_path: Path
) -> None:
    assert await listed(folders) == {}
    device = await folders.quotas.attach(JOB)
    folders._state.roots.let_go_idle(0)
    (loop,) = loops_of_state(tmp_path / "state")
    assert loop.device == device
    assert await folders.quotas.held() == {JOB}


async def test_many_that_attach_and_read_at_once_share_one_device(
    folders: DiskFolders, tmp_path: Path
) -> None:
    calls = [folders.quotas.attach(JOB) if number % 2 else listed(folders) for number in range(40)]
    await asyncio.gather(*calls)
    assert len(loops_of_state(tmp_path / "state")) == 1


async def test_one_agents_devices_are_no_other_agents_whatever_the_jobs_id(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as one, opened(tmp_path / "b") as two:
        for folders in (one, two):
            await folders.claim(JOB, RECORD, NO_SECRETS)
            await folders.quotas.reserve(JOB, SIZE)
        device = await two.quotas.attach(JOB)
        await one.quotas.release(JOB)
        assert await one.quotas.held() == set()
        await one.remove(JOB)
        assert [loop.device for loop in loops_of_state(tmp_path / "b" / "state")] == [device]
        await two.remove(JOB)
        assert loops_of_state(tmp_path / "b" / "state") == []


async def test_a_release_of_one_job_leaves_the_others_its_device(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(OTHER, RECORD, NO_SECRETS)
    await folders.quotas.reserve(OTHER, SIZE)
    for job_id in (JOB, OTHER):
        await folders.quotas.attach(job_id)
    await folders.quotas.release(JOB)
    assert [loop.job for loop in loops_of_state(tmp_path / "state")] == [OTHER]


async def test_a_device_that_an_operator_made_on_an_image_is_taken_over_and_let_go(
    folders: DiskFolders, tmp_path: Path
) -> None:
    made = attach_by_hand(image(tmp_path))
    assert await folders.quotas.attach(JOB) == made
    assert [loop.device for loop in loops_of_state(tmp_path / "state")] == [made]
    await folders.quotas.release(JOB)
    assert loops_of_state(tmp_path / "state") == []


def attach_by_hand(file: Path) -> str:
    done = run(["losetup", "--find", "--show", str(file)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


async def test_a_removed_job_leaves_no_device_and_one_that_is_mounted_goes_with_its_last_mount(
    folders: DiskFolders, tmp_path: Path
) -> None:
    device = await folders.quotas.attach(JOB)
    with mounted(device, tmp_path / "engine"):
        await folders.remove(JOB)
        assert not image(tmp_path).exists()
    assert loops_of_state(tmp_path / "state") == []
    with pytest.raises(JobFolderMissingError):
        await folders.quotas.attach(JOB)


async def test_a_device_whose_job_somebody_removed_by_hand_is_found_and_let_go(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.quotas.attach(JOB)
    shutil.rmtree(image(tmp_path).parent)
    assert await folders.quotas.held() == {JOB}
    await folders.quotas.release(JOB)
    assert loops_of_state(tmp_path / "state") == []


async def test_a_sweep_and_a_folder_that_is_set_aside_leave_no_device(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(OTHER, RECORD, NO_SECRETS)
    await folders.quotas.reserve(OTHER, SIZE)
    await folders.quotas.attach(JOB)
    await folders.quotas.attach(OTHER)
    aside = await folders.set_aside(OTHER)
    assert await folders.sweep(set()) == [JOB]
    assert loops_of_state(tmp_path / "state") == []
    assert IMAGE in names(Path(aside or ""))


async def test_a_second_job_of_the_same_id_reads_its_own_files(folders: DiskFolders, tmp_path: Path) -> None:
    await write(folders, tmp_path, b"first")
    with folders._state.roots.opened(folders._state.jobs, JOB) as first:
        await folders.remove(JOB)
        await folders.claim(JOB, RECORD, NO_SECRETS)
        await folders.quotas.reserve(JOB, SIZE)
        assert await listed(folders) == {}
        assert os.listdir(first) == ["file"], "who reads the first one's is not disturbed"  # noqa: PTH208 - by descriptor


async def test_what_a_trim_of_the_host_took_is_reserved_again_with_nothing_lost(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await write(folders, tmp_path, b"kept")
    with mounted(await folders.quotas.attach(JOB), tmp_path / "engine") as root:
        descriptor = os.open(root, os.O_RDONLY)
        images.give_back(descriptor)
        os.close(descriptor)
        assert image(tmp_path).stat().st_blocks * 512 < SIZE // 2
        assert await folders.quotas.refill(JOB)
    assert image(tmp_path).stat().st_blocks * 512 >= SIZE
    assert await whole(await folders.open_output(JOB, "file")) == b"kept"


async def test_the_journal_of_a_crashed_host_is_replayed_for_the_reader(
    folders: DiskFolders, tmp_path: Path
) -> None:
    await folders.claim(OTHER, RECORD, NO_SECRETS)
    await folders.quotas.reserve(OTHER, SIZE)
    with mounted(await folders.quotas.attach(JOB), tmp_path / "engine") as root:
        (root / "file").write_bytes(b"in the journal")
        file = os.open(root / "file", os.O_RDONLY)
        os.fsync(file)
        os.close(file)
        # What is on the disk at this moment is what a power cut leaves.
        shutil.copyfile(image(tmp_path), image(tmp_path, OTHER))
    assert await whole(await folders.open_output(OTHER, "file")) == b"in the journal"


async def test_a_damaged_image_is_said_so_and_harms_nobody_else(folders: DiskFolders, tmp_path: Path) -> None:
    await folders.claim(OTHER, RECORD, NO_SECRETS)
    await folders.quotas.reserve(OTHER, SIZE)
    with image(tmp_path).open("r+b") as file:
        file.write(bytes(MIB))
    with pytest.raises(QuotaUnavailableError, match="can't be mounted"):
        await listed(folders)
    assert await listed(folders, OTHER) == {}
    with pytest.raises(QuotaUnavailableError):
        await folders.quotas.release(JOB)


async def test_no_file_is_made_through_a_link(tmp_path: Path) -> None:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        target = tmp_path / "elsewhere"
        image(tmp_path).with_name(images.PART).symlink_to(target)
        assert await folders.quotas.reserve(JOB, SIZE) is None
        assert not image(tmp_path).is_symlink()
        assert not target.exists()


@contextmanager
def disk_of_its_own(path: Path, kind: str, size: int) -> Iterator[Path]:
    """For a state folder: a sparse file with a file system of that kind."""
    with (path / "disk.img").open("wb") as file:
        file.truncate(size)
    run(["mke2fs", "-q", "-F", "-t", kind, "-m", "0", str(path / "disk.img")], check=True)
    folder = path / "disk"
    folder.mkdir()
    run(["mount", "-o", "loop", str(path / "disk.img"), str(folder)], check=True)
    try:
        yield folder
    finally:
        run(["umount", str(folder)], check=True)


async def test_a_file_system_that_can_reserve_nothing_is_refused(tmp_path: Path) -> None:
    with disk_of_its_own(tmp_path, "ext3", FLOOR_BYTES + (1 << 30)) as disk:
        async with opened(disk) as folders:
            await folders.claim(JOB, RECORD, NO_SECRETS)
            with pytest.raises(QuotaUnavailableError, match="can't reserve room"):
                await folders.quotas.reserve(JOB, SIZE)


async def test_reservations_leave_the_floor_and_room_that_comes_back_is_taken(tmp_path: Path) -> None:
    with disk_of_its_own(tmp_path, "ext4", FLOOR_BYTES + (1 << 30)) as disk:
        async with opened(disk) as folders:
            for job_id in (JOB, OTHER):
                await folders.claim(job_id, RECORD, NO_SECRETS)
            assert await folders.quotas.reserve(JOB, 512 * MIB) is None
            shortage = await folders.quotas.reserve(OTHER, 512 * MIB)
            assert shortage is not None
            assert 0 < shortage.free_bytes < shortage.wanted_bytes
            assert await folders.free_bytes() >= FLOOR_BYTES
            assert names(image(disk, OTHER).parent) == ["outputs", "secrets", "spec.json"]
            await folders.quotas.release(JOB)
            assert await folders.quotas.reserve(OTHER, 512 * MIB) is None
            for job_id in (JOB, OTHER):
                await folders.remove(job_id)


def test_a_reservation_that_died_is_whole_or_nothing_and_the_next_one_ends_it(tmp_path: Path) -> None:
    with opened_state(tmp_path) as state:
        jobs.claim(state, JOB, RECORD, NO_SECRETS)
        for step in range(200):
            lived = die_at(step, lambda: images.reserve(state.jobs, state.loops, JOB, SIZE))
            if image(tmp_path).exists():
                assert image(tmp_path).stat().st_blocks * 512 >= SIZE
            assert images.reserve(state.jobs, state.loops, JOB, SIZE) is None
            jobs.remove(state, JOB)
            assert names(tmp_path / "state" / "jobs") == []
            jobs.claim(state, JOB, RECORD, NO_SECRETS)
            if lived:
                assert step > 5
                return
        pytest.fail("still not done")


def test_an_attach_that_died_leaves_one_device_or_none_and_the_next_one_has_it(tmp_path: Path) -> None:
    with opened_state(tmp_path) as state:
        jobs.claim(state, JOB, RECORD, NO_SECRETS)
        images.reserve(state.jobs, state.loops, JOB, SIZE)

        def attach() -> None:
            with (
                images.open_image(state.jobs, JOB) as opened_image,
                state.loops.attached(JOB, opened_image, Keep.UNTIL_RELEASED),
            ):
                pass

        for step in range(200):
            lived = die_at(step, attach)
            assert len(loops_of_state(tmp_path / "state")) <= 1
            attach()
            assert len(loops_of_state(tmp_path / "state")) == 1
            assert [loop.job for loop in state.loops.all()] == [JOB]
            state.loops.release(JOB)
            assert loops_of_state(tmp_path / "state") == []
            if lived:
                assert step > 3
                return
        pytest.fail("still not done")


def test_a_reader_that_was_killed_leaves_neither_mount_nor_device(tmp_path: Path) -> None:
    with opened_state(tmp_path) as state:
        jobs.claim(state, JOB, RECORD, NO_SECRETS)
        images.reserve(state.jobs, state.loops, JOB, SIZE)
        for step in range(200):

            def read() -> None:
                with state.roots.opened(state.jobs, JOB) as root:
                    os.scandir(root).close()

            lived = die_at(step, read)
            assert loops_of_state(tmp_path / "state") == [], step
            if lived:
                assert step > 5
                return
        pytest.fail("still not done")
