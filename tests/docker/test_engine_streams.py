"""Logs and events of a real engine: whole, resumable, and never taken for whole when the engine died."""

import asyncio
import socket
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from conftest import DockerStage

from agent.adapters.docker.client import Deadlines
from agent.adapters.docker.engine import DockerEngine
from agent.adapters.docker.logs import SHORT_LOG_FRAMES
from agent.core.container import ContainerState
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble
from tests.contract.engine_contract import FOREVER, Program, collect, opened, until_exited
from tests.private_engine import PrivateEngine
from tests.private_engine_host import wait

LINES = 20_000
COUNT = f"i=0; while [ $i -lt {LINES} ]; do echo line-$i; i=$((i+1)); done"


def frames(raw: bytes) -> list[tuple[int, bytes]]:
    """(stream, payload) of each frame: a header of 1, 3 and 4 bytes, then the payload (Engine API, "Attach")."""
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at + 4 : at + 8], "big")
        found.append((raw[at], raw[at + 8 : at + 8 + size]))
        at += 8 + size
    assert at == len(raw)
    return found


@pytest.mark.parametrize("lines", [0, SHORT_LOG_FRAMES - 1, SHORT_LOG_FRAMES, SHORT_LOG_FRAMES + 1])
@pytest.mark.parametrize("width", [10, 20_000])  # the engine cuts a long line in two frames
async def test_a_log_of_any_length_is_read_as_it_is_followed(
    stage: DockerStage, lines: int, width: int
) -> None:
    script = f"i=0; while [ $i -lt {lines} ]; do printf '%0{width}d\\n' $i; i=$((i+1)); done"
    container = await stage.run(stage.shell(f"short-{lines}-{width}", script))
    await until_exited(stage.engine, container)
    read = b"".join(await collect(stage.engine.read_logs(container, 0)))
    assert read == b"".join(await collect(stage.engine.follow_logs(container, 0)))
    assert b"".join(payload.partition(b" ")[2] for _, payload in frames(read)).count(b"\n") == lines


async def test_a_log_is_read_whole_in_frames_with_stamps(stage: DockerStage) -> None:
    container = await stage.run(stage.shell("log", f"{COUNT}; echo bad >&2"))
    await until_exited(stage.engine, container)
    seen = frames(b"".join(await collect(stage.engine.read_logs(container, 0))))
    out = [payload.partition(b" ")[2] for stream, payload in seen if stream == 1]
    assert out == [b"line-%d\n" % number for number in range(LINES)]
    assert [payload.partition(b" ")[2] for stream, payload in seen if stream == 2] == [b"bad\n"]


async def test_following_gives_what_reading_gives(stage: DockerStage) -> None:
    container = await stage.run(stage.shell("follow", COUNT))
    followed = b"".join(await collect(stage.engine.follow_logs(container, 0)))
    assert followed == b"".join(await collect(stage.engine.read_logs(container, 0)))


async def test_since_is_inclusive_to_the_nanosecond(stage: DockerStage) -> None:
    container = await stage.run(stage.shell("since", "for i in 1 2 3 4; do echo $i; sleep 0.01; done"))
    await until_exited(stage.engine, container)
    whole = frames(b"".join(await collect(stage.engine.read_logs(container, 0))))
    stamp = whole[2][1].partition(b" ")[0].decode()
    seconds, _, nanoseconds = stamp.removesuffix("Z").partition(".")
    since = int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp()) * 10**9 + int(nanoseconds)
    assert frames(b"".join(await collect(stage.engine.read_logs(container, since)))) == whole[2:]
    assert frames(b"".join(await collect(stage.engine.read_logs(container, since + 1)))) == whole[3:]


@pytest.mark.parametrize("kind", ["follow", "read"])
async def test_an_engine_that_dies_under_a_log_is_not_the_logs_end(stage: DockerStage, kind: str) -> None:
    container = await stage.run(
        stage.shell("cut", "yes 012345678901234567890123456789 | head -n 600000; sleep 60")
    )
    if kind == "read":
        await until_written(stage, container)
    logs = stage.engine.follow_logs if kind == "follow" else stage.engine.read_logs
    async with aclosing(opened(logs(container, 0))) as stream:
        await anext(stream)
        await stage.go_down()
        await stage.come_up()
        with pytest.raises(EngineUnavailableError) as raised:
            async for _ in stream:
                pass
    assert raised.value.trouble is Trouble.BROKEN


async def until_written(stage: DockerStage, container: str) -> None:
    """Enough that a read is not over with its first chunk."""
    got = 0
    async with asyncio.timeout(30), aclosing(opened(stage.engine.follow_logs(container, 0))) as stream:
        async for chunk in stream:
            got += len(chunk)
            if got > 8 * 2**20:
                break


async def test_a_silent_log_is_followed_past_the_deadline_for_answers(stage: DockerStage) -> None:
    hasty = await DockerEngine.open(stage.private.socket, stage.agent, Deadlines(0.5, 5.0))
    container = await stage.run(stage.plan("silent", Program(seconds=1.5)))
    chunks = await collect(hasty.follow_logs(container, 0))
    await hasty.close()
    assert b"ready" in b"".join(chunks)


async def test_events_replay_a_death_that_nobody_listened_to(stage: DockerStage) -> None:
    container = await stage.run(stage.plan("alone", Program(seconds=0.05, code=3)))
    seen = await until_exited(stage.engine, container)
    assert seen.started_at is not None
    kinds = []
    async with asyncio.timeout(10), aclosing(opened(stage.engine.events(seen.started_at - 1))) as stream:
        async for event in stream:
            kinds.append(getattr(event, "kind", "opened"))
            if kinds[-1] == "die":
                break
    assert kinds == ["opened", "create", "start", "die"]


async def test_a_label_of_a_megabyte_does_not_break_the_stream_of_events(stage: DockerStage) -> None:
    base = await stage.engine.create(stage.shell("base", "true"), {})
    await stage.request(
        "POST", f"/commit?container={base}&repo=gpu-agent-test/labels&tag=1", {"Labels": {"x": "y" * 2**20}}
    )
    async with asyncio.timeout(10), aclosing(opened(stage.engine.events(0.0))) as stream:
        await anext(stream)
        await stage.engine.create(replace(stage.shell("labels", "true"), image="gpu-agent-test/labels:1"), {})
        async for event in stream:
            if getattr(event, "job", "") == "labels":
                break


def kill_and_see_refused(engine: PrivateEngine) -> None:
    """A process that has ended may still listen for a moment, until the kernel has closed its files."""
    engine.kill()
    wait(lambda: is_refused(engine.socket), 5)


def is_refused(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(path) != 0


async def test_an_engine_that_hangs_is_told_from_one_that_is_down(stage: DockerStage) -> None:
    hasty = await DockerEngine.open(stage.private.socket, stage.agent, Deadlines(0.4, 0.6))
    container = await stage.run(stage.plan("hang", FOREVER))
    calls = (
        hasty.facts,
        hasty.ours,
        lambda: hasty.inspect(container),
        lambda: hasty.create(stage.plan("late", FOREVER), {}),
        lambda: hasty.start(container),
        lambda: hasty.kill(container, "SIGURG"),
        lambda: hasty.image(stage.image),
        lambda: hasty.ensure_bridge("gatest0", None),
        lambda: collect(hasty.events(0.0)),
        lambda: collect(hasty.read_logs(container, 0)),
        lambda: collect(hasty.follow_logs(container, 0)),
        lambda: collect(hasty.pull("localhost:1/nobody:1", None)),
    )
    for hit, trouble, heal in (
        (stage.private.freeze, Trouble.HANGS, stage.private.thaw),
        (lambda: kill_and_see_refused(stage.private), Trouble.DOWN, stage.private.launch),
    ):
        await asyncio.to_thread(hit)
        try:
            for call in calls:
                async with asyncio.timeout(3):
                    with pytest.raises(EngineUnavailableError) as raised:
                        await call()
                assert raised.value.trouble is trouble
        finally:
            await asyncio.to_thread(heal)
    await hasty.close()
    seen = await stage.engine.inspect(container)
    assert seen is not None
    assert seen.state is ContainerState.RUNNING


async def test_more_calls_than_threads_all_get_their_answer(stage: DockerStage) -> None:
    container = await stage.engine.create(stage.plan("many", FOREVER), {})
    seen = await asyncio.gather(*(stage.engine.inspect(container) for _ in range(200)))
    assert {found.id for found in seen if found is not None} == {container}
    assert len(seen) == 200
