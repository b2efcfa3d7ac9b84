"""Numbered lines at full speed on a real engine: no reader loses one or sees one twice, and what is rotated away is told."""

import asyncio
from pathlib import Path

import pytest

from agent.core.frames import NANOS
from agent.core.job import Run, StartIntent
from agent.jobs.drain import first_stamp
from agent.jobs.logs import LogQuery
from tests.docker.log_job import (
    JOB,
    STDERR_EVERY,
    LogJob,
    Numbers,
    printing,
    read_resuming,
    read_text,
)
from tests.private_engine import PrivateEngine


async def until_read(numbers: Numbers, lines: int) -> None:
    while len(numbers.stdout) < lines:
        await asyncio.sleep(0.02)


async def restart_engine(job: LogJob) -> None:
    await asyncio.to_thread(job.private.restart)


@pytest.mark.parametrize("lines", [300_000, pytest.param(3_000_000, marks=pytest.mark.soak)])
async def test_a_fast_a_slow_and_a_resuming_reader_get_every_line_once(
    private_engine: PrivateEngine, tmp_path: Path, lines: int
) -> None:
    """The engine is restarted under them, and the container drained and removed while the slow one still reads."""
    size = f"{max(20, lines // 25_000)}m"
    async with printing(private_engine, tmp_path, lines, size) as job, asyncio.timeout(60 + lines / 5_000):
        fast, slow, resuming = Numbers(), Numbers(), Numbers()
        async with asyncio.TaskGroup() as group:
            group.create_task(read_text(job, fast))
            group.create_task(read_text(job, slow, pause_seconds=0.02))
            cursors = group.create_task(read_resuming(job, resuming, lines // 20))
            await until_read(fast, lines // 4)
            await restart_engine(job)
            await job.has_exited()
            await job.drain_and_remove()
            job.finish()
        truth = await read_text(job, Numbers(), query=LogQuery())
        assert truth.stdout == sorted(set(truth.stdout))
        assert (truth.stdout[0], truth.stdout[-1]) == (0, lines - 1)
        assert truth.stderr[-1] == lines - STDERR_EVERY
        assert fast == truth
        assert slow == truth
        assert resuming == truth
        assert len(cursors.result()) >= 19
        for cursor in cursors.result()[::5]:
            rest = await read_text(job, Numbers(), query=LogQuery(cursor=cursor))
            assert rest.stdout == truth.stdout[len(truth.stdout) - len(rest.stdout) :]
            assert rest.stderr == truth.stderr[len(truth.stderr) - len(rest.stderr) :]


async def test_a_log_that_outgrows_its_bounds_is_told_to_be_truncated(
    private_engine: PrivateEngine, tmp_path: Path
) -> None:
    lines = 300_000
    async with (
        printing(private_engine, tmp_path, lines, "2m", burst_bytes=256 << 10) as job,
        asyncio.timeout(120),
    ):
        first_ns = await first_stamp(job.engine, job.container)
        job.row.change(run=Run(intent=StartIntent(job.container, "boot-1"), first_log_ns=first_ns))
        slow = Numbers()
        async with asyncio.TaskGroup() as group:
            group.create_task(read_text(job, slow, pause_seconds=0.05))
            await job.has_exited()
            await job.drain_and_remove(first_ns)
            job.finish()
        assert slow.stdout == sorted(set(slow.stdout))
        assert slow.stdout[-1] == lines - 1
        told = [at for at, mark in slow.marks if b"truncated: older lines were rotated away" in mark]
        assert slow.holes() == told
        assert told
        records = [record async for batch in job.logs.records(JOB, LogQuery()) for record in batch]
        truncated, oldest, *_ = records
        assert type(truncated).__name__ == "Truncated"
        assert truncated.at_ns == oldest.at_ns
        assert first_ns is not None
        assert 0 < truncated.at_ns - first_ns < 120 * NANOS
        assert records[-1].text.startswith(b"o %08d" % (lines - 1))


async def test_the_tail_of_a_large_live_log_is_exact(private_engine: PrivateEngine, tmp_path: Path) -> None:
    async with printing(private_engine, tmp_path, 100_000, "20m") as job, asyncio.timeout(60):
        await job.has_exited()
        for tail in (0, 1, 250, 100_000):
            got = await read_text(job, Numbers(), query=LogQuery(tail=tail))
            assert len(got.stdout) + len(got.stderr) == tail
            assert got.stdout == list(range(100_000 - len(got.stdout), 100_000))
