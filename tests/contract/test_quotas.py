"""The promises of interfaces.Quotas, for this host's disk and for its twin in memory."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from agent.interfaces import JobFolderMissingError, Quotas, Shortage
from tests.contract.folders_on_disk import JOB, NO_SECRETS, OTHER, RECORD, opened
from tests.fakes.quotas import FakeQuotas
from tests.loops import needs_loops

MIB = 1 << 20
SIZE = 64 * MIB
TOO_LARGE = 1 << 44


class Stage(Protocol):
    quotas: Quotas

    async def claim(self, job_id: str) -> None:
        """The job has a folder."""
        ...

    async def taken_bytes(self, job_id: str) -> int:
        """What its quota takes of the disk."""
        ...


class QuotasContract:
    async def test_room_is_reserved_once_however_often_it_is_asked_for(self, stage: Stage) -> None:
        await stage.claim(JOB)
        assert await stage.quotas.reserve(JOB, SIZE) is None
        free = stage.quotas.free_bytes
        assert await stage.quotas.reserve(JOB, SIZE) is None
        assert SIZE <= await stage.taken_bytes(JOB) < SIZE + MIB
        assert abs(stage.quotas.free_bytes - free) < SIZE

    async def test_without_room_nothing_is_taken_and_the_shortage_is_told(self, stage: Stage) -> None:
        await stage.claim(JOB)
        shortage = await stage.quotas.reserve(JOB, TOO_LARGE)
        assert isinstance(shortage, Shortage)
        assert shortage.wanted_bytes == TOO_LARGE > shortage.free_bytes > 0
        assert await stage.taken_bytes(JOB) == 0
        assert JOB not in await stage.quotas.held()
        with pytest.raises(JobFolderMissingError):
            await stage.quotas.attach(JOB)
        assert await stage.quotas.reserve(JOB, SIZE) is None

    async def test_a_job_has_one_device_and_no_two_jobs_the_same(self, stage: Stage) -> None:
        for job_id in (JOB, OTHER):
            await stage.claim(job_id)
            await stage.quotas.reserve(job_id, SIZE)
        device = await stage.quotas.attach(JOB)
        other = await stage.quotas.attach(OTHER)
        assert device.startswith("/dev/loop")
        assert device != other
        assert await stage.quotas.attach(JOB) == device

    async def test_what_is_reserved_is_held_until_it_is_released(self, stage: Stage) -> None:
        assert await stage.quotas.held() == set()
        await stage.claim(JOB)
        await stage.quotas.reserve(JOB, SIZE)
        assert await stage.quotas.held() == {JOB}
        await stage.quotas.attach(JOB)
        assert await stage.quotas.held() == {JOB}
        await stage.quotas.release(JOB)
        assert await stage.quotas.held() == set()

    async def test_a_release_gives_back_what_was_not_filled_and_again_is_fine(self, stage: Stage) -> None:
        await stage.claim(JOB)
        await stage.quotas.reserve(JOB, SIZE)
        await stage.quotas.attach(JOB)
        for _ in range(2):
            await stage.quotas.release(JOB)
            assert await stage.taken_bytes(JOB) < SIZE // 2

    async def test_a_release_of_what_was_never_attached_and_of_a_job_that_is_not_there_is_fine(
        self, stage: Stage
    ) -> None:
        await stage.claim(JOB)
        await stage.quotas.reserve(JOB, SIZE)
        await stage.quotas.release(JOB)
        await stage.quotas.release(OTHER)
        assert await stage.quotas.held() == set()

    async def test_a_refill_of_a_whole_one_and_of_none_is_fine(self, stage: Stage) -> None:
        await stage.claim(JOB)
        assert await stage.quotas.refill(JOB)
        await stage.quotas.reserve(JOB, SIZE)
        assert await stage.quotas.refill(JOB)
        assert await stage.quotas.refill(OTHER)

    async def test_to_rest_with_nothing_read_is_fine(self, stage: Stage) -> None:
        await stage.quotas.rest()


class FakeStage:
    def __init__(self) -> None:
        self.fake = FakeQuotas()
        self.quotas: Quotas = self.fake

    async def claim(self, job_id: str) -> None:
        """Folders are nothing that it knows of."""

    async def taken_bytes(self, job_id: str) -> int:
        image = self.fake.images.get(job_id)
        return 0 if image is None else image.taken_bytes


class TestFakeQuotas(QuotasContract):
    @pytest.fixture
    async def stage(self) -> FakeStage:
        return FakeStage()


@needs_loops
class TestDiskQuotas(QuotasContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[Stage]:
        async with opened(tmp_path) as folders:

            class DiskStage:
                quotas: Quotas = folders.quotas

                async def claim(self, job_id: str) -> None:
                    await folders.claim(job_id, RECORD, NO_SECRETS)

                async def taken_bytes(self, job_id: str) -> int:
                    folder = tmp_path / "state" / "jobs" / job_id
                    return sum(file.stat().st_blocks * 512 for file in folder.glob("q.img*"))

            yield DiskStage()
            for job_id in (JOB, OTHER):
                await folders.remove(job_id)
