"""The fake engine keeps the contract that the real one keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.core.container import ContainerPlan
from agent.core.gpu_strangers import GpuStranger
from tests.contract.engine_contract import EngineContract, Program, bare_plan
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.engine import Program as FakeProgram


class FakeStage:
    def __init__(self) -> None:
        self.agent = "agent-1"
        self.image = "example.org/busybox:1"
        self.engine = FakeEngine(FakeClock(), self.agent)
        self.engine.add_image(self.image)

    def plan(self, job: str, program: Program) -> ContainerPlan:
        self.engine.programs[job] = FakeProgram(program.seconds, program.code, program.on_term)
        return bare_plan(self.agent, job, self.engine.images[self.image].id)

    async def until_ready(self, container: str) -> None:
        """It is, at once."""

    async def run_writer(self, job: str, size: int) -> str:
        container = await self.engine.create(self.plan(job, Program()), {})
        await self.engine.start(container)
        assert self.engine.disk is not None
        self.engine.disk.write(container, size)
        return container

    async def make_stranger(self, name: str) -> None:
        self.engine.take_name(name)

    async def run_gpu_stranger(self, name: str, gpu: str) -> None:
        self.engine.strangers.append(GpuStranger(name, (gpu,)))

    async def make_strangers_volume(self, name: str) -> None:
        self.engine.strangers_volumes.add(name)

    @asynccontextmanager
    async def hold_port(self, transport: str, address: str, port: int) -> AsyncIterator[None]:
        self.engine.strangers_sockets.add((transport, address, port))
        yield
        self.engine.strangers_sockets.clear()

    async def make_strangers_network(self, name: str) -> None:
        self.engine.strangers_networks.add(name)

    async def go_down(self) -> None:
        self.engine.stop()

    async def come_up(self) -> None:
        self.engine.come_up()


class TestFakeEngine(EngineContract):
    @pytest.fixture
    async def stage(self) -> FakeStage:
        return FakeStage()
