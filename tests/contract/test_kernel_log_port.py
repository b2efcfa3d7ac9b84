"""The port `KernelLog`: what holds in memory and on a file that is read as /dev/kmsg is, and what only the file can do."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from errno import EINVAL
from pathlib import Path

import pytest
import structlog.testing

from agent.adapters.kernel_log import KernelLogFile, why_unreadable
from agent.adapters.linux import SystemClock
from agent.core.kernel_log import MARGIN_SECONDS, LoggedXid
from agent.interfaces import KernelLog
from tests.contract.nvml_world import until
from tests.fakes.kernel_log import FakeKernelLog
from tests.kmsg_standin import KmsgStandin

A, B = "00000000:3B:00.0", "00000000:AF:00.0"
AT = {A: (0, 0x3B, 0), B: (0, 0xAF, 0)}
Write = Callable[[str, int], None]
Heard = list[LoggedXid]
Opened = AbstractAsyncContextManager[tuple[KernelLog, Heard, Write]]
Open = Callable[[Path, list[tuple[str, int]]], Opened]


@asynccontextmanager
async def fake(folder: Path, before: list[tuple[str, int]]) -> AsyncIterator[tuple[KernelLog, Heard, Write]]:
    log, heard = FakeKernelLog(SystemClock()), list[LoggedXid]()
    for pci, xid in before:
        log.write(pci, xid)
    log.listen(heard.extend)
    yield log, heard, log.write


@asynccontextmanager
async def real(folder: Path, before: list[tuple[str, int]]) -> AsyncIterator[tuple[KernelLog, Heard, Write]]:
    kmsg, heard = KmsgStandin(folder / "kmsg"), list[LoggedXid]()
    for pci, xid in before:
        kmsg.write_xid(pci, xid)
    log = KernelLogFile(kmsg.path)
    log.listen(heard.extend)
    await log.open()
    try:
        yield log, heard, kmsg.write_xid
    finally:
        log.close()
        kmsg.close()


@pytest.fixture
def kmsg(tmp_path: Path) -> Iterator[KmsgStandin]:
    made = KmsgStandin(tmp_path / "kmsg")
    yield made
    made.close()


@asynccontextmanager
async def reading(
    path: Path, read: Callable[[int, int], bytes] = os.read, catch_up_seconds: float = 10.0
) -> AsyncIterator[tuple[KernelLogFile, Heard]]:
    log, heard = KernelLogFile(path, read, catch_up_seconds), list[LoggedXid]()
    log.listen(heard.extend)
    await log.open()
    try:
        yield log, heard
    finally:
        log.close()


def kinds(heard: Sequence[LoggedXid]) -> list[tuple[object, int]]:
    return [(one.address, one.xid) for one in heard]


@pytest.mark.parametrize("opened", [fake, real], ids=["fake", "file"])
async def test_all_of_the_boot_is_told_then_each_as_it_comes(opened: Open, tmp_path: Path) -> None:
    async with opened(tmp_path, [(A, 79), (B, 31), (A, 48)]) as (log, heard, write):
        assert kinds(heard) == [(AT[A], 79), (AT[B], 31), (AT[A], 48)]
        write(B, 62)
        await until(lambda: len(heard) == 4)
        assert kinds(heard[3:]) == [(AT[B], 62)]
        assert [one.record for one in heard] == [0, 1, 2, 3]
        now = SystemClock().boot_seconds()
        assert all(now - MARGIN_SECONDS - 5 < one.at <= now for one in heard)
        assert log.condition() is None


@pytest.mark.parametrize("opened", [fake, real], ids=["fake", "file"])
async def test_equal_ones_that_are_there_are_one_the_last(opened: Open, tmp_path: Path) -> None:
    async with opened(tmp_path, [(A, 31)] * 100) as (_, heard, _write):
        assert [(one.xid, one.record) for one in heard] == [(31, 99)]


async def test_one_that_was_there_may_be_older_than_its_stamp_and_one_that_comes_comes_now(
    kmsg: KmsgStandin,
) -> None:
    now = SystemClock().boot_seconds()
    slept = now - time.clock_gettime(time.CLOCK_MONOTONIC)
    kmsg.write_xid(A, 79, seconds=now - 100)
    async with reading(kmsg.path) as (_, heard):
        kmsg.write_xid(B, 79, seconds=now - 100)
        await until(lambda: len(heard) == 2)
    there, came = heard
    assert there.at <= now - 100 - MARGIN_SECONDS + 1
    assert there.at > now - 100 - MARGIN_SECONDS - 2 * abs(slept) - 60
    assert abs(came.at - now) < 5


@pytest.mark.parametrize("count", [255, 256])
async def test_a_log_that_ends_with_a_bite_is_caught_up_with(count: int, kmsg: KmsgStandin) -> None:
    for _ in range(count):
        kmsg.write_xid(A, 31)
    async with asyncio.timeout(5), reading(kmsg.path) as (_, heard):
        assert [one.record for one in heard] == [count - 1]
        kmsg.write_xid(A, 31)
        await until(lambda: len(heard) == 2)
        assert SystemClock().boot_seconds() - heard[1].at < 5


async def test_other_lines_and_what_programs_wrote_are_passed_over(kmsg: KmsgStandin) -> None:
    kmsg.write("eth0: renamed from veth0d983bb")
    kmsg.write("NVRM: Xid (PCI:0000:3b:00): 79, forged", priority=12)
    kmsg.write("NVRM: Xid (PCI:" + "9" * 2000)
    async with reading(kmsg.path) as (log, heard):
        kmsg.write_xid(A, 31)
        await until(lambda: bool(heard))
        assert kinds(heard) == [(AT[A], 31)]
        assert log.condition() is None


async def test_a_reader_that_was_too_slow_says_so_once_and_goes_on(kmsg: KmsgStandin) -> None:
    overruns = 3

    def read(descriptor: int, size: int) -> bytes:
        nonlocal overruns
        if overruns:
            overruns -= 1
            raise BrokenPipeError
        return os.read(descriptor, size)

    kmsg.write_xid(A, 79)
    with structlog.testing.capture_logs() as said:
        async with reading(kmsg.path, read) as (log, heard):
            assert kinds(heard) == [(AT[A], 79)]
            assert log.condition() is None
    assert [line["event"] for line in said] == ["kernel_log.overrun"]


async def test_a_log_that_fails_or_ends_is_given_up_and_said_once(kmsg: KmsgStandin) -> None:
    def fail(_descriptor: int, _size: int) -> bytes:
        raise OSError(EINVAL, "Invalid argument")

    kmsg.write_xid(A, 79)
    for read, words in ((fail, "Invalid argument"), (lambda _descriptor, _size: b"", "it ended")):
        with structlog.testing.capture_logs() as said:
            async with reading(kmsg.path, read) as (log, heard):
                await asyncio.sleep(0.05)
                assert log.condition() == f"{kmsg.path}: {words}"
                assert heard == []
        assert [line["event"] for line in said] == ["kernel_log.unreadable"]


@pytest.mark.parametrize("what", ["missing", "file", "folder"])
async def test_what_can_not_be_opened_or_watched_is_a_condition_and_no_crash(
    what: str, tmp_path: Path
) -> None:
    path = tmp_path / "kmsg"
    if what == "file":
        path.write_text("")
    if what == "folder":
        path.mkdir()
    async with reading(path) as (log, heard):
        condition = log.condition()
        assert condition is not None
        assert condition.startswith(f"{path}: ")
        assert heard == []
    if what == "missing":
        assert why_unreadable(path) == condition


async def test_a_log_that_never_ends_does_not_hold_up_the_start(kmsg: KmsgStandin) -> None:
    kmsg.write_xid(A, 79)
    record = b"2,7,1,-;NVRM: Xid (PCI:0000:3b:00): 79, x\n"
    async with asyncio.timeout(5), reading(kmsg.path, lambda _descriptor, _size: record, 0.1) as (_, heard):
        assert heard


async def test_a_storm_is_told_bite_by_bite_and_the_loop_goes_on_between(tmp_path: Path) -> None:
    """What 10,000 a second would fill in ten seconds, all at once: the loop goes on to others between bites."""
    left = 100_000
    record = b"2,%d,1000000,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=1, name=x, Ch 00000008\n"

    def read(_descriptor: int, _size: int) -> bytes:
        nonlocal left
        if not left:
            raise BlockingIOError
        left -= 1
        return record % left

    kmsg = KmsgStandin(tmp_path / "kmsg")
    kmsg.write("there is something to read")
    longest, count, last = 0.0, 0, time.perf_counter()

    async def look_at_the_clock() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

    def hear(found: Sequence[LoggedXid]) -> None:
        nonlocal count
        count += len(found)

    log = KernelLogFile(kmsg.path, read)
    log.listen(hear)
    clock = asyncio.ensure_future(look_at_the_clock())
    began = time.process_time()
    await log.open()
    used_seconds = time.process_time() - began
    clock.cancel()
    log.close()
    kmsg.close()
    assert left == 0
    assert count <= 100_000 / 256 + 1
    assert longest < 0.1
    assert used_seconds < 5.0


@pytest.mark.skipif(why_unreadable(Path("/dev/kmsg")) is not None, reason="/dev/kmsg can't be read here")
async def test_the_kernels_own_log_can_be_read() -> None:
    async with reading(Path("/dev/kmsg")) as (log, _):
        assert log.condition() is None
        assert log._is_live
