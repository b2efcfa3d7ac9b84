"""`run`: from the submit to the exit code, over pulls, retries, broken connections and restarts."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.api.tokens import Scope
from agent.cli.run import run
from agent.cli.screen import Form
from agent.core.container import Image
from agent.core.frames import Stream
from tests.fakes.engine import Program
from tests.fakes.host_keys import public_key
from tests.fakes.logs import frame
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, Seen, cli_world

JOB = "0190aaaa-0000-7000-8000-000000000001"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    (tmp_path / "host").mkdir()
    async with cli_world(tmp_path / "host") as made:
        yield made


def write(world: CliWorld, number: int, line: bytes, stream: Stream = Stream.STDOUT) -> None:
    """Into the log of the container that runs."""
    (container,) = world.engine.running()
    ns = 10**18 + number
    world.engine.boxes[container.id].logs.append((ns, frame(stream, ns, line)))


@pytest.mark.parametrize(
    ("program", "code"),
    [(Program(seconds=0.0), 0), (Program(seconds=0.0, code=3), 3), (Program(seconds=0.0, code=255), 255)],
)
async def test_it_exits_with_the_jobs_code(world: CliWorld, program: Program, code: int) -> None:
    world.engine.program = program
    found, seen = await world.run(run, "busybox", ["sh", "-c", "exit"])
    assert found == code
    assert seen.out.getvalue() == ""
    told = seen.err.getvalue()
    assert told.startswith(f"job {JOB}\n")
    assert ("succeeded" in told) == (code == 0)
    assert ("why" in told) == (code != 0)


async def test_its_streams_are_the_jobs_and_its_ports_are_told(world: CliWorld) -> None:
    world.engine.program = Program()
    seen = Seen()
    running = asyncio.ensure_future(world.run_on(seen, run, "busybox", port=["web:8080/http"]))
    await until(lambda: bool(world.engine.running()))
    write(world, 1, b"out\n")
    write(world, 2, b"err\n", Stream.STDERR)
    world.engine.exit_now(world.engine.running()[0].id, 0)
    assert await asyncio.wait_for(running, 10) == 0
    assert (seen.raw_out.getvalue(), seen.raw_err.getvalue()) == (b"out\n", b"err\n")


async def test_a_port_is_told_while_the_job_runs(world: CliWorld) -> None:
    world.engine.program = Program()
    seen = Seen()
    running = asyncio.ensure_future(world.run_on(seen, run, "busybox", port=["web:8080/http"]))
    await until(lambda: "web 8080/http → http://gpu.example.org:40000" in seen.err.getvalue())
    world.engine.exit_now(world.engine.running()[0].id, 0)
    assert await asyncio.wait_for(running, 10) == 0


async def test_for_scripts_stdout_is_the_job_alone(world: CliWorld) -> None:
    world.engine.program = Program()
    seen = Seen(Form.JSON)
    running = asyncio.ensure_future(world.run_on(seen, run, "busybox"))
    await until(lambda: bool(world.engine.running()))
    write(world, 1, b"out\n")
    world.engine.exit_now(world.engine.running()[0].id, 7)
    assert await asyncio.wait_for(running, 10) == 7
    job = json.loads(seen.out.getvalue())
    assert (job["id"], job["outcome"], job["exit"]["code"]) == (JOB, "failed", 7)
    assert (seen.raw_out.getvalue(), seen.raw_err.getvalue()) == (b"", b"out\n")


async def test_a_pull_is_shown_and_an_image_that_is_not_there_is_125(world: CliWorld) -> None:
    world.engine.program = Program(seconds=0.0)
    world.engine.pull_gate = asyncio.Event()
    world.engine.registry["python"] = Image("sha256:p", "python@sha256:1", 1000)
    seen = Seen()
    running = asyncio.ensure_future(world.run_on(seen, run, "python"))
    await until(
        lambda: "pulling python\n" in seen.err.getvalue() or "waiting for image\n" in seen.err.getvalue()
    )
    world.engine.pull_gate.set()
    assert await asyncio.wait_for(running, 10) == 0
    code, seen = await world.run(run, "missing")
    assert code == 125
    assert "image_not_found" in seen.err.getvalue()


async def test_a_retry_is_followed_from_its_first_line_and_its_reason_is_told(world: CliWorld) -> None:
    world.engine.program = Program()
    seen = Seen()
    running = asyncio.ensure_future(world.run_on(seen, run, "busybox", retry=1))
    for number, code in ((1, 1), (2, 0)):
        await until(
            lambda number=number: len(world.engine.starts) == number and bool(world.engine.running()), 10
        )
        write(world, number, b"attempt %d\n" % number)
        world.engine.exit_now(world.engine.running()[0].id, code)
    assert await asyncio.wait_for(running, 20) == 0
    assert seen.raw_out.getvalue() == b"attempt 1\nattempt 2\n"
    assert "— attempt 1: the program exited with code 1; attempt 2 follows —\n" in seen.err.getvalue()


async def test_a_cancelled_job_is_130(world: CliWorld) -> None:
    world.engine.program = Program()
    running = asyncio.ensure_future(world.run(run, "busybox"))
    await until(lambda: bool(world.engine.running()))
    await world.api.call("POST", f"/v1/jobs/{JOB}/cancel", token=await all_jobs(world))
    code, seen = await asyncio.wait_for(running, 10)
    assert code == 130
    assert "cancelled" in seen.err.getvalue()


async def all_jobs(world: CliWorld) -> str:
    return await world.api.new_token("root", tuple(Scope))


async def test_a_restart_of_the_agent_is_one_line_and_no_line_of_the_job(world: CliWorld) -> None:
    world.engine.program = Program()
    seen = Seen()
    running = asyncio.ensure_future(world.run_on(seen, run, "busybox"))
    await until(lambda: bool(world.engine.running()))
    write(world, 1, b"before\n")
    await until(lambda: seen.raw_out.getvalue() == b"before\n")
    await world.proxy.close()
    write(world, 2, b"meanwhile\n")
    await until(lambda: "the agent is away" in seen.err.getvalue())
    await world.proxy.reopen()
    await until(lambda: seen.raw_out.getvalue() == b"before\nmeanwhile\n")
    world.engine.exit_now(world.engine.running()[0].id, 0)
    assert await asyncio.wait_for(running, 10) == 0
    assert seen.err.getvalue().count("away") == 1


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0, 400, 900, 2500, 6000])
async def test_wherever_a_connection_breaks_there_is_one_job_and_its_code(world: CliWorld, cut: int) -> None:
    world.engine.program = Program(seconds=0.05, code=4)
    world.proxy.cuts.extend([cut, cut, cut])
    code, _ = await world.run(run, "busybox")
    assert code == 4
    assert await world.api.store.job_ids() == {JOB}


async def test_outputs_are_fetched_and_what_differs_there_makes_a_success_125(
    world: CliWorld, tmp_path: Path
) -> None:
    async def run_with_output(content: bytes, **options: object) -> int:
        world.engine.program = Program()
        running = asyncio.ensure_future(world.run(run, "busybox", outputs=tmp_path / "here", **options))
        await until(lambda: bool(world.engine.running()))
        job_id = world.engine.running()[0].job
        (world.api.state / "jobs" / str(job_id) / "outputs" / "model").write_bytes(content)
        world.engine.exit_now(world.engine.running()[0].id, 0)
        return (await asyncio.wait_for(running, 10))[0]

    assert await run_with_output(b"one") == 0
    assert (tmp_path / "here" / "model").read_bytes() == b"one"
    assert await run_with_output(b"two") == 125
    assert (tmp_path / "here" / "model").read_bytes() == b"one"
    assert await run_with_output(b"two", force=True) == 0
    assert (tmp_path / "here" / "model").read_bytes() == b"two"


async def test_a_file_where_the_outputs_should_go_is_refused_before_there_is_a_job(
    world: CliWorld, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code, seen = await world.run(run, "busybox", outputs=tmp_path / "file")
    assert (code, "is no folder" in seen.err.getvalue()) == (-1, True)
    assert await world.api.store.job_ids() == set()


async def test_detached_it_prints_the_id_and_leaves(world: CliWorld) -> None:
    world.engine.program = Program()
    code, seen = await world.run(run, "busybox", detach=True)
    assert (code, seen.out.getvalue()) == (0, f"{JOB}\n")


async def test_who_may_log_in_is_read_from_a_file_of_keys(world: CliWorld, tmp_path: Path) -> None:
    world.engine.program = Program()
    (tmp_path / "keys").write_text(f"# mine\n{public_key(1).line} me\n\n{public_key(2).line}\n")
    code, seen = await world.run(run, "busybox", detach=True, ssh=tmp_path / "keys")
    assert code == 0, seen.err.getvalue()
    job = await world.api.store.read(seen.out.getvalue().strip())
    assert job is not None
    assert job.spec.ssh is not None
    assert job.spec.ssh.authorized_keys == (f"{public_key(1).line} me", public_key(2).line)


async def test_a_key_that_is_none_is_named_by_the_api(world: CliWorld, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("ssh-ed25519 AAAA me\n")
    code, seen = await world.run(run, "busybox", ssh=tmp_path / "keys")
    assert code == -1
    assert "ssh.authorized_keys.0: holds bytes that are no key of its type" in seen.err.getvalue()
