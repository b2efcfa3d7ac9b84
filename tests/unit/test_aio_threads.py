"""Threads: a deadline that begins with the call, and a pool that is left without waiting for it."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from agent.aio import Apart, Threads


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


async def test_the_wait_for_a_thread_does_not_count(gate: threading.Event) -> None:
    threads = Threads("test", 1)
    asyncio.get_running_loop().call_later(0.4, gate.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(threads.run(gate.wait))
        late = group.create_task(threads.run_within(0.2, str, "an answer"))
    assert late.result() == "an answer"
    threads.close()


async def test_a_call_that_lasts_too_long_is_told_of(gate: threading.Event) -> None:
    threads = Threads("test", 1)
    with pytest.raises(TimeoutError):
        await threads.run_within(0.05, gate.wait)
    gate.set()
    threads.close()


async def test_an_abandoned_pool_waits_for_nothing_and_begins_nothing(gate: threading.Event) -> None:
    threads = Threads("test", 1)
    begun, never = threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        gate.wait()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(threads.run(call))
        queued = group.create_task(threads.run_within(5.0, never.set))
        await asyncio.to_thread(begun.wait)
        before = time.monotonic()
        threads.abandon()
        assert time.monotonic() - before < 1
        await asyncio.wait({queued})
        gate.set()
        await running
    assert queued.cancelled()
    assert not never.is_set()


async def test_a_call_that_waited_for_its_thread_has_its_whole_time_and_no_more(
    gate: threading.Event,
) -> None:
    threads = Threads("test", 1)
    began = time.monotonic()
    busy = asyncio.ensure_future(threads.run(time.sleep, 0.25))
    await asyncio.sleep(0)  # it has the thread
    with pytest.raises(TimeoutError):
        await threads.run_within(0.2, gate.wait)
    assert 0.4 < time.monotonic() - began < 0.8
    gate.set()
    await busy
    threads.close()


async def test_a_call_apart_gives_its_result_or_its_error() -> None:
    apart = Apart("apart", 1)
    assert await apart.run(lambda: threading.current_thread().name) == "apart"
    with pytest.raises(OSError, match="no such name"):
        await apart.run(fail)
    assert await apart.run(lambda: 1) == 1


def fail() -> None:
    raise OSError("no such name")


async def test_a_call_apart_that_nobody_waits_for_keeps_its_place_until_it_ends(
    gate: threading.Event,
) -> None:
    apart = Apart("apart", 2)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await apart.run(gate.wait)
    late = asyncio.ensure_future(apart.run(lambda: "an answer"))
    await asyncio.sleep(0.05)
    assert not late.done()
    gate.set()
    assert await late == "an answer"


async def test_where_no_thread_is_to_be_had_it_is_an_error_like_the_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    apart = Apart("apart", 1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="no thread"):
            await apart.run(lambda: 1)
    assert await apart.run(lambda: 1) == 1


def test_a_call_apart_does_not_keep_the_program_from_leaving() -> None:
    program = """
import asyncio, time
from agent.aio import Apart
async def main():
    async with asyncio.timeout(0.2):
        await Apart("stuck", 1).run(lambda: time.sleep(60))
try:
    asyncio.run(main())
except TimeoutError:
    pass
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
