"""`gpu-agent open`: the URL on stdout, and what to do where there is none."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.cli import opening
from agent.cli.screen import Form
from agent.errors import Phase
from tests.fakes.engine import Program
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, cli_world
from tests.shell.proxy_world import DOMAIN, PORTS


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path, DOMAIN) as made:
        yield made


async def running_job(world: CliWorld) -> str:
    world.engine.program = Program()
    job_id = await world.api.submit(ports=PORTS, network="egress")

    def runs() -> bool:
        job = world.api.store.peek(job_id)
        return job is not None and job.phase is Phase.RUNNING

    await until(runs)
    return job_id


async def test_the_url_is_all_that_comes_on_stdout(world: CliWorld) -> None:
    job_id = await running_job(world)
    code, seen = await world.run(opening.open_page, job_id[:8], "web")
    url = f"http://web--{job_id}.jobs.localhost:8470/.gpu-agent/open?ticket="
    assert (code, seen.out.getvalue().count("\n")) == (0, 1)
    assert seen.out.getvalue().startswith(url)


async def test_scripts_get_the_url_and_how_long_it_is_good(world: CliWorld) -> None:
    job_id = await running_job(world)
    _, seen = await world.run(opening.open_page, job_id, "web", form=Form.JSON, path="/lab")
    assert set(json.loads(seen.out.getvalue())) == {"url", "expires_at"}


@pytest.mark.parametrize(("port", "words"), [("db", "port_not_http"), ("none", "port_not_found")])
async def test_a_port_without_a_page_is_refused_in_words(world: CliWorld, port: str, words: str) -> None:
    code, seen = await world.run(opening.open_page, await running_job(world), port)
    assert (code, seen.out.getvalue()) == (-1, "")
    assert words in seen.err.getvalue()


async def test_without_a_domain_it_says_what_to_set(tmp_path: Path) -> None:
    async with cli_world(tmp_path) as world:
        code, seen = await world.run(opening.open_page, await running_job(world), "web")
        assert code == -1
        assert "[proxy] domain" in seen.err.getvalue()
