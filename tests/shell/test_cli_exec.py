"""`gpu-agent exec` as a process: on a terminal, which is as it was however it ends, and on pipes, with the command's exit code."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.core.exec import DEFAULT_SHELL, WindowSize
from agent.errors import Phase
from tests.fakes.execs import HUNG_UP, FakeExec, Inside
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, cli_world
from tests.shell.pty_process import PtyProcess

ROOT = Path(__file__).resolve().parents[2]
LARGE_BYTES = 20_000_000


async def shell(inside: Inside) -> int:
    """Says what is typed in hex, and the window's size once more when it changes. `q` ends it."""
    await inside.write(b"ready\r\n")
    while (typed := await inside.read()) != b"q":
        if not typed:
            return 9
        await inside.write(typed.hex().encode() + b"\r\n")
    return 42


async def sizes(inside: Inside) -> int:
    await inside.write(b"ready\r\n")
    for _ in range(2):
        assert inside.size is not None
        await inside.write(f"{inside.size.columns}x{inside.size.rows}\r\n".encode())
        await inside.is_resized.wait()
        inside.is_resized.clear()
    return 0


async def both(inside: Inside) -> int:
    await inside.write(b"out\xff\n")
    await inside.complain(b"err\n")
    return 5


async def count(inside: Inside) -> int:
    seen = 0
    while data := await inside.read():
        seen += len(data)
    await inside.write(b"%d\n" % seen)
    return 0


async def large(inside: Inside) -> int:
    await inside.write(bytes(LARGE_BYTES))
    return 0


COMMANDS = {command.__name__: command for command in (shell, sizes, both, count, large)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        made.engine.execs.commands |= {(name,): command for name, command in COMMANDS.items()}
        made.engine.execs.commands[DEFAULT_SHELL] = shell
        yield made


async def running_job(world: CliWorld) -> str:
    job_id = await world.api.submit()

    async def is_running() -> bool:
        job = await world.api.store.read(job_id)
        return job is not None and job.phase is Phase.RUNNING

    async with asyncio.timeout(5):
        while not await is_running():
            await asyncio.sleep(0.005)
    return job_id


def environ(world: CliWorld) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "GPU_AGENT__API__SOCKET": str(world.proxy.path), "HERE": "there"}


@asynccontextmanager
async def at_terminal(world: CliWorld, *words: str) -> AsyncIterator[PtyProcess]:
    async with PtyProcess.started(
        sys.executable, "-m", "agent", "exec", *words, cwd=ROOT, env=environ(world)
    ) as process:
        yield process


async def on_pipes(world: CliWorld, *words: str, sent: bytes | None = None) -> tuple[int, bytes, bytes]:
    """`sent` None: stdin is /dev/null."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "exec", *words, cwd=ROOT, env=environ(world),
        stdin=asyncio.subprocess.DEVNULL if sent is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(sent), 60)
    return process.returncode or 0, out, err


def the_command(world: CliWorld) -> FakeExec:
    (command,) = world.engine.execs.all
    return command


async def test_at_a_terminal_it_is_a_shell_and_every_key_is_its(world: CliWorld) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, job_id) as process:
        await process.until(b"ready\r\n")
        assert process.settings != process.before
        for key in (b"\x03", b"\x1a", b"\x1c", b"\x11", b"\r", "ü".encode()):
            process.type(key)
            await process.until(key.hex().encode() + b"\r\n")
        process.type(b"q")
        assert await process.code() == 42
        assert process.settings == process.before


async def test_the_window_has_the_terminals_size_also_when_that_changes(world: CliWorld) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, job_id, "sizes") as process:
        await process.until(b"80x24\r\n")
        process.drag((132, 50))
        await process.until(b"132x50\r\n")
        process.drag((20, 10))
        assert await process.code() == 0
        assert the_command(world).inside.size == WindowSize(20, 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_a_signal_leaves_the_terminal_as_it_was_and_hangs_the_command_up(
    world: CliWorld, number: signal.Signals
) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, job_id) as process:
        await process.until(b"ready\r\n")
        process.process.send_signal(number)
        assert await process.code() == 128 + number
        assert process.settings == process.before
    await until(lambda: the_command(world).code == HUNG_UP)


async def test_a_lost_connection_leaves_the_terminal_as_it_was(world: CliWorld) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, job_id) as process:
        await process.until(b"ready\r\n")
        await world.proxy.close()
        assert await process.code() == 125
        assert process.settings == process.before
        assert b"hung up" in process.seen
    await until(lambda: the_command(world).code == HUNG_UP)


@pytest.mark.slow
async def test_an_engine_that_goes_down_and_an_agent_that_leaves_are_told(world: CliWorld) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, job_id) as process:
        await process.until(b"ready\r\n")
        world.engine.stop()
        assert await process.code() == 125
        assert process.settings == process.before
        assert b"engine" in process.seen
    world.engine.come_up()
    async with at_terminal(world, job_id) as process:
        await process.until(b"ready\r\n")
        assert world.api.sites is not None
        await world.api.sites.close()
        assert await process.code() == 125
        assert b"the agent is leaving" in process.seen


@pytest.mark.slow
async def test_a_tilde_and_a_dot_leave_though_the_other_side_says_nothing(world: CliWorld) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, job_id) as process:
        await process.until(b"ready\r\n")
        process.type(b"a~.\r~~.")
        await process.until(b"a~.\r~.".hex().encode())
        process.type(b"\r~.")
        assert await process.code() == 130
        assert process.settings == process.before
        assert b"hung up" in process.seen
    await until(lambda: the_command(world).code == HUNG_UP)


@pytest.mark.slow
async def test_a_terminal_that_was_stopped_and_goes_on_is_raw_again(world: CliWorld) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, job_id) as process:
        await process.until(b"ready\r\n")
        was_raw = process.settings
        process.process.send_signal(signal.SIGSTOP)
        process.set(process.before)
        process.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(5):
            while process.settings != was_raw:
                await asyncio.sleep(0.01)
        process.type(b"q")
        assert await process.code() == 42
        assert process.settings == process.before


async def test_on_pipes_both_streams_are_told_apart_and_nothing_is_added(world: CliWorld) -> None:
    job_id = await running_job(world)
    assert await on_pipes(world, job_id, "both") == (5, b"out\xff\n", b"err\n")
    assert the_command(world).inside.size is None


@pytest.mark.slow
async def test_stdin_goes_there_with_i_alone(world: CliWorld, tmp_path: Path) -> None:
    job_id = await running_job(world)
    assert await on_pipes(world, "-i", job_id, "count", sent=bytes(LARGE_BYTES)) == (
        0,
        b"%d\n" % LARGE_BYTES,
        b"",
    )
    assert await on_pipes(world, job_id, "count", sent=b"lost") == (0, b"0\n", b"")
    assert await on_pipes(world, "-i", job_id, "count") == (0, b"0\n", b"")
    loop = f'printf "1\\n2\\n3\\n" | while read x; do {sys.executable} -m agent exec {job_id} both; done 2>/dev/null'
    process = await asyncio.create_subprocess_shell(
        loop, cwd=ROOT, env=environ(world), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out == b"out\xff\n" * 3
    (tmp_path / "file").write_bytes(bytes(300_000))
    for given in (f"< {tmp_path / 'file'}", "<&-"):
        process = await asyncio.create_subprocess_shell(
            f"{sys.executable} -m agent exec -i {job_id} count {given}", cwd=ROOT, env=environ(world), stdout=asyncio.subprocess.PIPE
        )  # fmt: skip
        out, _ = await process.communicate()
        assert out == (b"300000\n" if "file" in given else b"0\n")


@pytest.mark.slow
async def test_a_shell_without_a_terminal_reads_stdin(world: CliWorld) -> None:
    job_id = await running_job(world)
    code, out, _ = await on_pipes(world, job_id, sent=b"q")
    assert (code, out) == (42, b"ready\r\n")


@pytest.mark.slow
async def test_a_large_output_comes_whole_also_to_one_who_rests(world: CliWorld) -> None:
    job_id = await running_job(world)
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m agent exec {job_id} large | (sleep 2; wc -c)", cwd=ROOT, env=environ(world), stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    out, _ = await process.communicate()
    assert int(out) == LARGE_BYTES


async def test_a_reader_that_leaves_early_hangs_the_command_up(world: CliWorld) -> None:
    job_id = await running_job(world)
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"{sys.executable} -m agent exec {job_id} large | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}",
        cwd=ROOT, env=environ(world), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (out, err) == (b"141\n", b"")
    await until(lambda: the_command(world).code == HUNG_UP)


async def test_an_interrupt_on_pipes_hangs_the_command_up(world: CliWorld) -> None:
    job_id = await running_job(world)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "exec", "-i", job_id, "shell", cwd=ROOT, env=environ(world),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 20) == 130
    await until(lambda: the_command(world).code == HUNG_UP)
    await process.communicate()


async def test_options_stand_before_the_job_and_the_commands_own_behind_it(world: CliWorld) -> None:
    job_id = await running_job(world)
    world.engine.execs.commands["both", "-e", "X=Y", "--user", "--", "-i"] = both
    words = ("-w", "/srv", "-u", "1000:5", "-e", "A=b=c", "-e", "HERE", job_id)
    code, _, _ = await on_pipes(world, *words, "both", "-e", "X=Y", "--user", "--", "-i")
    assert code == 5
    (plan,) = world.engine.execs.plans
    assert plan.command == ("both", "-e", "X=Y", "--user", "--", "-i")
    assert (plan.workdir, plan.user) == ("/srv", "1000:5")
    assert plan.environment == (("A", "b=c"), ("HERE", "there"))


@pytest.mark.slow
async def test_two_dashes_behind_the_job_are_nobodys(world: CliWorld) -> None:
    job_id = await running_job(world)
    assert (await on_pipes(world, job_id, "--", "both"))[0] == 5


@pytest.mark.slow
async def test_a_terminal_that_is_asked_for_must_be_there(world: CliWorld) -> None:
    job_id = await running_job(world)
    for flags in ("-t", "-it"):
        code, out, err = await on_pipes(world, flags, job_id, "both")
        assert (code, out) == (125, b"")
        assert b"-t wants a terminal" in err
    assert world.engine.execs.plans == []


@pytest.mark.slow
async def test_with_i_alone_there_are_pipes_at_a_terminal_too(world: CliWorld) -> None:
    job_id = await running_job(world)
    async with at_terminal(world, "-i", job_id, "shell") as process:
        await process.until(b"ready")
        assert process.settings == process.before
        assert the_command(world).inside.size is None
        process.type(b"\x04")
        assert await process.code() == 9


async def test_a_refusal_is_the_apis_own_words(world: CliWorld) -> None:
    job_id = await running_job(world)
    await world.api.call("POST", f"/v1/jobs/{job_id}/cancel?grace=0")
    await world.api.call("GET", f"/v1/jobs/{job_id}?wait=finished")
    code, out, err = await on_pipes(world, "--json", job_id, "both")
    assert (code, out, json.loads(err)["code"]) == (125, b"", "job_not_running")
    code, _, err = await on_pipes(world, "0190aaaa-0000-7000-8000-999999999999", "both")
    assert (code, b"there is no job" in err) == (125, True)


@pytest.mark.slow
async def test_a_beginning_of_the_id_will_do_and_what_is_not_there_says_so(world: CliWorld) -> None:
    job_id = await running_job(world)
    code, out, _ = await on_pipes(world, job_id[:8], "no-such-program")
    assert (code, b"not found" in out) == (127, True)
