"""The fake engine's commands keep the contract that the real one's keep."""

import asyncio

import pytest

from tests.contract.exec_contract import FLOOD_BYTES, Does, ExecContract
from tests.contract.test_engine_fake import FakeStage
from tests.fakes.execs import Inside


async def speak(inside: Inside) -> int:
    end = line_end(inside)
    await inside.write(b"out" + end)
    await inside.complain(b"err" + end)
    return 7


async def echo(inside: Inside) -> int:
    while data := await inside.read():
        await inside.write(data)
    return 0


async def count(inside: Inside) -> int:
    seen = 0
    while data := await inside.read():
        seen += len(data)
    await inside.write(b"%d\n" % seen)
    return 0


async def flood(inside: Inside) -> int:
    await inside.write(bytes(FLOOD_BYTES))
    return 0


async def sizes(inside: Inside) -> int:
    await inside.write(b"ready\r\n")
    while await inside.read():
        assert inside.size is not None
        await inside.write(b"%d %d\r\n" % (inside.size.rows, inside.size.columns))
    return 3


async def asked(inside: Inside) -> int:
    plan = inside.plan
    greeting = dict(plan.environment).get("GREETING", "")
    await inside.write(f"{greeting}:{plan.workdir or '/'}:{plan.user or 0}\n".encode())
    return 0


async def wait(inside: Inside) -> int:
    await inside.write(b"ready" + line_end(inside))
    await asyncio.sleep(600)
    return 0


async def deaf(inside: Inside) -> int:
    await inside.write(b"ready" + line_end(inside))
    await asyncio.sleep(0.5)
    return await count(inside)


def line_end(inside: Inside) -> bytes:
    return b"\n" if inside.size is None else b"\r\n"


COMMANDS = {
    Does.SPEAK: speak,
    Does.ECHO: echo,
    Does.COUNT: count,
    Does.FLOOD: flood,
    Does.SIZES: sizes,
    Does.ASKED: asked,
    Does.WAIT: wait,
    Does.DEAF: deaf,
}


class TestFakeExec(ExecContract):
    @pytest.fixture
    async def stage(self) -> FakeStage:
        stage = FakeStage()
        stage.engine.execs.commands.update({does.plan.command: command for does, command in COMMANDS.items()})
        return stage
