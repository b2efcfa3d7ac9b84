"""The program as a process against the API: the words of its command line, its environment, closed pipes, colours."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.engine import Program
from tests.shell.cli_world import CliWorld, cli_world

# Programs that are started and ended: seconds together.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PATH = "/usr/bin:/bin"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        made.engine.program = Program(seconds=0.0)
        yield made


async def gpu_agent(world: CliWorld, *words: str, **environ: str) -> tuple[int, str, str]:
    settings = {"PATH": PATH, "GPU_AGENT__API__SOCKET": str(world.api.socket), **environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", *words, cwd=ROOT, env=settings,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


async def test_options_of_run_stand_behind_the_command_and_the_commands_own_stay_its(world: CliWorld) -> None:
    words = "run busybox sh -ec true --epochs 3 -p web:8080/http -e K=V --timeout 1h --name digits --json"
    code, out, err = await gpu_agent(world, *words.split())
    assert (code, err) == (0, "")
    spec = json.loads(out)["spec"]
    assert spec["command"] == ["sh", "-ec", "true", "--epochs", "3"]
    assert spec["ports"] == [{"name": "web", "port": 8080, "proto": "http"}]
    assert (spec["env"], spec["timeout"], spec["name"]) == ({"K": "V"}, 3600, "digits")


async def test_behind_two_dashes_everything_is_the_commands(world: CliWorld) -> None:
    code, out, _ = await gpu_agent(world, "run", "--json", "busybox", "--", "ls", "-p", "--json", "--help")
    assert code == 0
    assert json.loads(out)["spec"]["command"] == ["ls", "-p", "--json", "--help"]


async def test_an_option_that_is_none_is_named_with_the_usage(world: CliWorld) -> None:
    code, out, err = await gpu_agent(world, "run", "--nonsense", "busybox")
    assert (code, out) == (2, "")
    assert "--nonsense" in err


async def test_an_address_and_a_token_out_of_the_environment_or_before_the_command(world: CliWorld) -> None:
    code, out, _ = await gpu_agent(
        world, "ps", "--json", GPU_AGENT_URL=world.api.url, GPU_AGENT_TOKEN=world.api.token
    )
    assert (code, json.loads(out)) == (0, {"items": [], "next": None})
    code, _, err = await gpu_agent(world, "--url", world.api.url, "--token", "gat_wrong", "ps", "--json")
    assert (code, json.loads(err)["code"]) == (1, "unauthorized")


async def test_a_reader_that_leaves_early_gets_no_traceback(world: CliWorld) -> None:
    job_id = await world.api.submit()
    await world.api.call("GET", f"/v1/jobs/{job_id}?wait=finished")
    world.write_log(job_id, [(1, b"x" * 100 + b"\n")] * 20_000)
    command = f"{sys.executable} -m agent logs {job_id} | head -n 1; echo ${{PIPESTATUS[0]}}"
    settings = {"PATH": PATH, "GPU_AGENT__API__SOCKET": str(world.api.socket)}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        command,
        cwd=ROOT,
        env=settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out.decode(), err.decode()) == ("x" * 100 + "\n141\n", "")


@pytest.mark.slow
async def test_what_is_no_terminal_gets_no_colours_and_no_bars(world: CliWorld, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"image": "busybox", "name": "one"}')
    await gpu_agent(world, "submit", str(tmp_path / "spec.json"))
    listed = await gpu_agent(world, "ps", "-a")
    ran = await gpu_agent(world, "run", "busybox")
    told = "".join([*listed[1:], *ran[1:]])
    assert "one" in told
    assert "\x1b" not in told
