"""Two agents on one host: who manages a GPU has its lock, and what another agent has is neither judged nor leased."""

import asyncio
from dataclasses import replace

import pytest

from agent.core.gpu_findings import GateVerdict, GpuReason, GpuState
from agent.core.gpu_locks import LockHolder, managed_gpus
from agent.core.gpus import Gpu, Inventory
from agent.errors import Phase
from agent.jobs.gpu_locking import FIRST_LOOK_SECONDS, GpusHeldError, LockedGpus
from tests.fakes.gpu_locks import FakeGpuLocks
from tests.fakes.gpus import FakeGpus
from tests.shell.world import World

pytestmark = pytest.mark.looptime

ME, OTHER = LockHolder("me", 11, "/var/lib/me"), LockHolder("other", 22, "/var/lib/other")
ALL = ("*",)


def gpus_named(*uuids: str) -> FakeGpus:
    gpus = FakeGpus()
    gpus.gpus = tuple(Gpu(uuid, "NVIDIA L40S", 45 << 30) for uuid in uuids)
    return gpus


class Agent:
    """One of the agents of `host`."""

    def __init__(self, gpus: FakeGpus, host: dict[str, LockHolder], use: tuple[str, ...] = ALL) -> None:
        self.locks = FakeGpuLocks(host, ME)
        self.gpus = LockedGpus(gpus, self.locks, use)

    async def verdict(self, uuid: str) -> GateVerdict:
        return (await self.gpus.gates([uuid]))[uuid].verdict

    async def looked(self) -> None:
        await self.gpus.look(frozenset())


def test_what_is_managed_is_what_may_be_leased_or_is_still_leased_and_always_the_whole_of_it() -> None:
    wholes = {"GPU-1": "GPU-1", "MIG-2-1": "GPU-2", "MIG-2-2": "GPU-2", "GPU-3": "GPU-3"}
    assert managed_gpus(wholes, ALL, frozenset()) == {"GPU-1", "GPU-2", "GPU-3"}
    assert managed_gpus(wholes, ("MIG-2-2", "GPU-9"), frozenset()) == {"GPU-2"}
    assert managed_gpus(wholes, ("GPU-1",), frozenset({"GPU-3", "GPU-8"})) == {"GPU-1", "GPU-3"}
    assert managed_gpus({}, ALL, frozenset({"GPU-1"})) == frozenset()


async def test_an_agent_that_starts_takes_the_locks_of_its_gpus_and_of_no_other() -> None:
    host: dict[str, LockHolder] = {}
    agent = Agent(gpus_named("GPU-1", "GPU-2", "GPU-3"), host, use=("GPU-1", "GPU-9"))
    await agent.gpus.hold({"GPU-3"})
    assert host == {"GPU-1": ME, "GPU-3": ME}


async def test_one_overlapping_gpu_refuses_the_start_and_the_other_agent_is_named() -> None:
    agent = Agent(gpus_named("GPU-1", "GPU-2", "GPU-3"), {"GPU-1": OTHER, "GPU-3": OTHER})
    with pytest.raises(GpusHeldError) as raised:
        await agent.gpus.hold(frozenset())
    assert "GPU-1, GPU-3 by gpu-agent other (process 22, state folder /var/lib/other)" in str(raised.value)
    assert "GPU-2" not in str(raised.value)


async def test_disjoint_agents_live_side_by_side_and_neither_judges_the_gpus_of_the_other() -> None:
    gpus = gpus_named("GPU-1", "GPU-2")
    gpus.dirty = {"GPU-2"}
    agent = Agent(gpus, {"GPU-2": OTHER}, use=("GPU-1",))
    await agent.gpus.hold(frozenset())
    await agent.looked()
    assert await agent.verdict("GPU-1") is GateVerdict.PASSED
    assert await agent.verdict("GPU-2") is GateVerdict.NOT_LOOKED


async def test_an_instance_of_a_gpu_that_another_agent_has_is_held() -> None:
    gpus = gpus_named("MIG-1-1", "MIG-1-2")
    gpus.gpus = tuple(replace(gpu, whole="GPU-1") for gpu in gpus.gpus)
    agent = Agent(gpus, {"GPU-1": OTHER}, use=("MIG-1-2",))
    with pytest.raises(GpusHeldError, match="GPU-1 by"):
        await agent.gpus.hold(frozenset())


async def test_nothing_is_clean_before_it_is_locked() -> None:
    gpus = gpus_named("GPU-1")
    agent = Agent(gpus, {})
    assert await agent.verdict("GPU-1") is GateVerdict.HELD
    await agent.gpus.hold(frozenset())
    assert await agent.verdict("GPU-1") is GateVerdict.PASSED
    gpus.gpus += gpus_named("GPU-2").gpus
    assert await agent.verdict("GPU-2") is GateVerdict.HELD
    await agent.looked()
    assert await agent.verdict("GPU-2") is GateVerdict.PASSED


async def test_a_gpu_that_comes_later_is_locked_then_and_held_until_its_holder_is_gone() -> None:
    gpus, host = gpus_named("GPU-1"), {"GPU-2": OTHER}
    agent = Agent(gpus, host)
    await agent.gpus.hold(frozenset())
    gpus.gpus += gpus_named("GPU-2").gpus
    await agent.looked()
    gate = (await agent.gpus.gates(["GPU-2"]))["GPU-2"]
    assert gate.verdict is GateVerdict.HELD
    assert gate.holders.endswith("gpu-agent other (process 22, state folder /var/lib/other)")
    del host["GPU-2"]
    await agent.looked()
    assert await agent.verdict("GPU-2") is GateVerdict.PASSED
    assert host == {"GPU-1": ME, "GPU-2": ME}


async def test_locks_that_fail_while_the_agent_runs_leave_it_what_it_has() -> None:
    gpus = gpus_named("GPU-1")
    agent = Agent(gpus, {})
    await agent.gpus.hold(frozenset())
    gpus.gpus += gpus_named("GPU-2").gpus
    agent.locks.trouble = "the folder is read-only"
    await agent.looked()
    gates = await agent.gpus.gates(["GPU-1", "GPU-2"])
    assert gates["GPU-1"].verdict is GateVerdict.PASSED
    assert (gates["GPU-2"].verdict, gates["GPU-2"].holders) == (GateVerdict.HELD, "the folder is read-only")


class SlowGpus(FakeGpus):
    """A driver that takes its time to tell what there is."""

    seconds = FIRST_LOOK_SECONDS * 2

    async def inventory(self) -> Inventory:
        await asyncio.sleep(self.seconds)
        return Inventory((Gpu("GPU-1", "NVIDIA L40S", 45 << 30),))


async def test_a_driver_that_hangs_at_the_start_holds_up_the_start_for_a_while_only() -> None:
    gpus = SlowGpus()
    agent = Agent(gpus, {})
    began = asyncio.get_running_loop().time()
    await agent.gpus.hold(frozenset())
    assert asyncio.get_running_loop().time() - began <= FIRST_LOOK_SECONDS
    gpus.seconds = 0
    await agent.looked()
    assert agent.locks.host == {"GPU-1": ME}


async def test_no_job_is_given_a_gpu_that_another_agent_has_and_it_gets_it_when_that_is_gone() -> None:
    world, host = World(), {"GPU-1": OTHER}
    world.gpus.gpus = gpus_named("GPU-1").gpus
    world.seen_gpus = Agent(world.gpus, host).gpus
    await world.start()
    job_id = await world.submit(gpus=1)
    await asyncio.sleep(60)
    assert (await world.job(job_id)).phase is Phase.QUEUED
    assert world.shell is not None
    health = world.shell.tools.gpu_care.healths["GPU-1"]
    assert (health.state, health.reason) == (GpuState.SUSPECT, GpuReason.HELD)
    assert "process 22" in health.words
    host.clear()
    await world.until_phase(job_id, Phase.RUNNING, 10)
    assert host == {"GPU-1": ME}
    await world.crash()


async def test_what_is_not_locked_is_not_reset() -> None:
    gpus = gpus_named("GPU-1", "GPU-2")
    agent = Agent(gpus, {"GPU-2": OTHER}, use=("GPU-1",))
    await agent.gpus.hold(frozenset())
    ends = [await agent.gpus.reset(gpu) for gpu in gpus.gpus]
    assert [end.failure is None for end in ends] == [True, False]
    assert gpus.resets == ["GPU-1"]
