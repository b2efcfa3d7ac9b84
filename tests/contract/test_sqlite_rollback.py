"""A transaction that fails leaves nothing behind: neither on disk nor in what the store remembers of rows."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.job import Job, NewEvent
from agent.errors import Phase
from tests.contract.store_values import accepted, opened


class DiskFullError(Exception):
    """Stands for what a commit may raise."""


async def test_a_row_that_was_read_again_after_its_own_write_is_not_remembered_where_the_write_failed(
    tmp_path: Path,
) -> None:
    """As where two GPUs of one job fail at once."""
    async with opened(tmp_path, lambda: 1.0) as store:
        job = await accepted(store)

        def move_ports(row: Job) -> tuple[Job, list[NewEvent]]:
            return replace(row, port_moves=1), []

        def leave_alone(row: Job) -> tuple[Job, list[NewEvent]]:
            return row, []

        def fail(_row: Job) -> tuple[Job, list[NewEvent]]:
            raise DiskFullError

        with pytest.raises(DiskFullError):
            await store.keep_gpu_healths({}, [(job.id, move_ports), (job.id, leave_alone), (job.id, fail)])
        written = await store.save(replace(job, phase=Phase.STOPPING, gpu_moves=7))
        assert await store.read(job.id) == written
