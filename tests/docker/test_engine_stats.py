"""What a real engine tells of a container's use: the limit that the plan gave, and the bytes that went over its network."""

import asyncio
from dataclasses import replace

from conftest import DockerStage

from tests.contract.engine_contract import FOREVER

BRIDGE = "gatest0"
LIMIT = 64 << 20


async def test_the_limit_and_the_memory_are_those_of_the_container(stage: DockerStage) -> None:
    plan = stage.shell("held", "head -c 20000000 /dev/zero | tail -c 20000000 | sleep 600")
    container = await stage.engine.create(replace(plan, memory_bytes=LIMIT), {})
    await stage.engine.start(container)
    async with asyncio.timeout(20):
        while True:
            stats = await stage.engine.stats(container)
            assert stats is not None
            # What begins a container takes memory, too: it runs once its processes are there.
            if (stats.memory_bytes or 0) > 10_000_000 and (stats.pids or 0) >= 3:
                break
            await asyncio.sleep(0.1)
    assert stats.memory_limit_bytes == LIMIT
    assert (stats.received_bytes, stats.sent_bytes) == (None, None)
    await stage.engine.kill(container, "SIGKILL")


async def test_bytes_of_the_network_are_counted_where_there_is_one(stage: DockerStage) -> None:
    await stage.engine.ensure_bridge(BRIDGE, None)
    # Nobody answers there but with a refusal, which is a packet each way.
    knock = "wget -q -T 1 -O - http://$(ip route | awk '/default/ {print $3}'):9/"
    container = await stage.engine.create(
        replace(stage.shell("net", f"{knock}; sleep 600"), bridge=BRIDGE), {}
    )
    await stage.engine.start(container)
    async with asyncio.timeout(20):
        while True:
            stats = await stage.engine.stats(container)
            assert stats is not None
            if stats.received_bytes and stats.sent_bytes:
                break
            await asyncio.sleep(0.1)
    await stage.engine.kill(container, "SIGKILL")


async def test_a_reading_that_is_cancelled_leaves_the_engine_to_the_next_one(stage: DockerStage) -> None:
    container = await stage.engine.create(stage.plan("cancelled", FOREVER), {})
    await stage.engine.start(container)
    for _ in range(5):
        reading = asyncio.ensure_future(stage.engine.stats(container))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
    assert await stage.engine.stats(container) is not None
    await stage.engine.kill(container, "SIGKILL")
