"""Random walks over all that happens to the job of a chute's cords: each call is answered or told why not, and nothing is left behind."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from agent.errors import AgentError, Phase
from agent.interfaces import StoreUnavailableError
from agent.jobs.cords import CordTimes
from tests.fakes.cord_lines import Said, stream, whole
from tests.fakes.upload_store import go_on
from tests.shell.cord_world import CordWorld, cord_world

pytestmark = [pytest.mark.looptime, pytest.mark.slow]
IDLE_SECONDS, STEPS, WALKS = 20, 40, 20
# What a caller may be told in such times, and nothing else.
TOLD = {"cord_host_ended", "cord_host_not_ready", "cord_timed_out", "store_unavailable", "cord_busy"}


class Walk:
    def __init__(self, stage: CordWorld, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.calls: set[asyncio.Task[None]] = set()
        self.ends: Counter[str] = Counter()
        stage.author = self.author
        stage.times = CordTimes(idle_seconds=IDLE_SECONDS, call_seconds=15)

    async def author(self, request: dict[str, Any]) -> Said:
        await asyncio.sleep(self.random.choice([0, 0, 0.01, 1, 5, 30]))
        body = request["body"]
        return stream(str(body).encode(), b"") if self.random.random() < 0.2 else whole(body)

    async def call(self, number: int) -> None:
        key = f"key {number % 5}" if self.random.random() < 0.3 else None
        body = number % 5 if key else number
        try:
            reply = await self.stage.call(body=body, key=key)
            assert reply.body == str(body).encode()
            self.ends["answered"] += 1
        except AgentError as error:
            self.ends[error.code] += 1

    async def take(self, number: int) -> None:
        acts = [self.several_call] * 8
        acts += [
            self.some_leave,
            self.wait,
            self.idle,
            self.die,
            self.deploy,
            self.cancel,
            self.restart,
            self.lose,
        ]
        await self.random.choice(acts)(number)

    async def several_call(self, number: int) -> None:
        for more in range(self.random.choice([1, 1, 3, 10])):
            self.calls.add(asyncio.ensure_future(self.call(number * 100 + more)))

    async def some_leave(self, _number: int) -> None:
        for task in list(self.calls)[:2]:
            task.cancel()

    async def wait(self, _number: int) -> None:
        await asyncio.sleep(self.random.uniform(0, 3))

    async def idle(self, _number: int) -> None:
        await asyncio.sleep(IDLE_SECONDS + self.random.choice([-0.3, 0, 0.02, 0.3, 2]))

    async def die(self, _number: int) -> None:
        for container in self.stage.world.engine.running():
            self.stage.world.engine.exit_now(container.id, self.random.choice([0, 1, 137]))

    async def deploy(self, _number: int) -> None:
        await self.stage.deploy()

    async def cancel(self, _number: int) -> None:
        for job_id in self.stage.alive():
            await self.stage.world.cancel(job_id)

    async def restart(self, _number: int) -> None:
        """A daemon that dies takes its callers' connections with it."""
        for task in self.calls:
            task.cancel()
        await self.all_over()
        await self.stage.restart()

    async def lose(self, _number: int) -> None:
        """The database is away, now and then."""
        self.stage.world.store.before = self.fail
        await asyncio.sleep(self.random.uniform(0, 2))
        self.stage.world.store.before = go_on

    async def fail(self, step: str) -> None:
        if step not in {"version", "versions"} and self.random.random() < 0.5:
            raise StoreUnavailableError("disk I/O error")

    async def all_over(self) -> None:
        for task in self.calls:
            with suppress(asyncio.CancelledError):
                await task
        self.calls.clear()


@pytest.mark.parametrize("seed", range(WALKS))
async def test_whatever_happens_calls_are_answered_or_told_why_and_nothing_is_left(seed: int) -> None:
    async with cord_world() as stage:
        await stage.ready()
        walk = Walk(stage, seed)
        for number in range(STEPS):
            await walk.take(number)
            await asyncio.sleep(walk.random.choice([0, 0.01, 0.5, 2]))
        async with asyncio.timeout(400):
            await walk.all_over()
        await asyncio.sleep(15)  # what is told for a while is told no more
        stage.author = answer_at_once
        assert (await stage.call(body="at last")).json == "at last"
        assert len([job for job in stage.jobs() if job.phase is not Phase.FINISHED and not job.job_stop]) == 1
        await asyncio.sleep(IDLE_SECONDS + 60)
        assert stage.alive() == []
        assert stage.world.engine.boxes == {}
        assert walk.ends["answered"] > 0
        assert set(walk.ends) <= {"answered", *TOLD}
        await stage.world.assert_all_is_well()


async def answer_at_once(request: dict[str, Any]) -> Said:
    return whole(request["body"])
