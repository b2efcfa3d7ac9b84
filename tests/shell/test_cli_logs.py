"""`logs`: streams apart, options, and going on behind the last line when connections break."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cli.follow import Pen, resumed
from agent.cli.logs import logs
from agent.cli.patience import Patience
from agent.cli.refusals import ConnectionLostError
from agent.cli.screen import Form
from agent.core.container import ContainerState
from agent.core.frames import Stream
from tests.fakes.engine import Program
from tests.fakes.logs import frame
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, Seen, cli_world

LINES = [b"line %d %s\n" % (number, b"x" * 50) for number in range(2000)]
AWAY = "the agent is away; going on behind the last line when it is back\n"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        yield made


async def finished_job(world: CliWorld, lines: list[tuple[int, bytes]]) -> str:
    world.engine.program = Program(seconds=0.0)
    job_id = await world.api.submit()
    await world.api.call("GET", f"/v1/jobs/{job_id}?wait=finished")
    world.write_log(job_id, lines)
    return job_id


async def test_stdout_and_stderr_of_the_job_are_ours_too(world: CliWorld) -> None:
    job_id = await finished_job(world, [(1, b"out\n"), (2, b"err\n"), (1, b"no newline")])
    code, seen = await world.run(logs, job_id)
    assert (code, seen.raw_out.getvalue(), seen.raw_err.getvalue()) == (0, b"out\nno newline\n", b"err\n")
    _, seen = await world.run(logs, job_id[:30], tail=1, timestamps=True)
    assert seen.raw_out.getvalue() == b"2030-01-01T00:00:00.000000002Z no newline\n"
    _, seen = await world.run(logs, job_id, stream="stderr")
    assert (seen.raw_out.getvalue(), seen.raw_err.getvalue()) == (b"", b"err\n")
    _, seen = await world.run(logs, job_id, form=Form.JSON)
    assert [json.loads(line)["line"] for line in seen.raw_out.getvalue().splitlines()] == [
        "out",
        "err",
        "no newline",
    ]


async def test_what_the_api_refuses_is_said_and_not_tried_again(world: CliWorld) -> None:
    job_id = await finished_job(world, [])
    code, seen = await world.run(logs, job_id, attempt=7)
    assert (code, "no_such_attempt" in seen.err.getvalue()) == (-1, True)
    code, seen = await world.run(logs, job_id, stream="x", since="y")
    assert "2 faults" in seen.err.getvalue()


@pytest.mark.slow
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    cuts=st.lists(st.integers(min_value=0, max_value=700_000), max_size=4),
    asked=st.sampled_from([{}, {"follow": True}]),
)
async def test_however_connections_break_no_line_is_missing_and_none_comes_twice(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], asked: dict[str, object]
) -> None:
    lines = [(1 + number % 3 // 2, line) for number, line in enumerate(LINES)]
    async with cli_world(tmp_path_factory.mktemp("w")) as world:
        job_id = await finished_job(world, lines)
        world.proxy.cuts.extend(cuts)
        code, seen = await world.run(logs, job_id, **asked)
    assert code == 0
    assert seen.raw_out.getvalue() == b"".join(line for stream, line in lines if stream == 1)
    assert seen.raw_err.getvalue() == b"".join(line for stream, line in lines if stream == 2)
    assert set(seen.err.getvalue().splitlines()) <= {AWAY.strip()}


async def test_following_goes_on_over_a_restart_and_ends_with_the_job(world: CliWorld) -> None:
    world.engine.program = Program()
    job_id = await world.api.submit()
    await until(lambda: bool(world.engine.running()))
    (box,) = world.engine.boxes.values()

    def write(number: int) -> None:
        ns = 10**18 + number
        box.logs.append((ns, frame(Stream.STDOUT, ns, b"line %d\n" % number)))

    write(1)
    seen = Seen()
    reading = asyncio.ensure_future(world.run_on(seen, logs, job_id, follow=True))
    await until(lambda: seen.raw_out.getvalue() == b"line 1\n")
    await world.proxy.close()
    write(2)
    await until(lambda: seen.err.getvalue() == AWAY)
    await world.proxy.reopen()
    await until(lambda: seen.raw_out.getvalue() == b"line 1\nline 2\n")
    write(3)
    assert box.seen.state is ContainerState.RUNNING
    world.engine.exit_now(box.seen.id, 0)
    assert await asyncio.wait_for(reading, 10) == 0
    assert seen.raw_out.getvalue() == b"line 1\nline 2\nline 3\n"
    assert seen.err.getvalue() == AWAY


def test_what_says_where_to_begin_is_not_asked_again_when_going_on() -> None:
    query = {"tail": 5, "since": "3", "stream": "stdout", "follow": "true"}
    assert resumed(query, None) == {**query, "format": "ndjson"}
    assert resumed(query, "1.1..") == {
        "stream": "stdout",
        "follow": "true",
        "format": "ndjson",
        "cursor": "1.1..",
    }


async def test_while_a_question_stands_nothing_is_written_and_nothing_is_lost() -> None:
    seen = Seen()
    pen = Pen(seen.screen)
    line = b'{"type":"line","attempt":1,"stream":"stdout","at":"x","line":"a","cursor":"1.1.1."}\n'
    pen.gate.clear()
    writing = asyncio.ensure_future(pen.write(line))
    await asyncio.sleep(0)
    assert (writing.done(), seen.raw_out.getvalue()) == (False, b"")
    pen.gate.set()
    await writing
    assert (seen.raw_out.getvalue(), pen.text.cursor) == (b"a\n", "1.1.1.")


async def test_patience_ends_and_what_does_not_pass_is_never_waited_for() -> None:
    seen = Seen()
    patience = Patience(seen.screen, seconds=0.05)
    gone = ConnectionLostError("gone")

    async def wait_on() -> None:
        while True:
            await patience.wait(gone, "away")

    with pytest.raises(ConnectionLostError):
        await asyncio.wait_for(wait_on(), 5)
    assert seen.err.getvalue() == "away\n"
