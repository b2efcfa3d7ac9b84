"""The commands of chutes against the real API: deploy, run by name, ls, show, rm; answers that get lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import chute_call, chute_deploy, chute_list, chutes
from agent.cli.screen import Form
from agent.core.job import Kind
from tests.fakes.cord_lines import FakeCordLine, Said, whole
from tests.fakes.tars import MAIN
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, Seen, cli_world
from tests.shell.described import Report, answer_calls, answer_describes
from tests.unit.chute_values import a_job, a_manifest, a_parameter

TRAIN = a_job(
    "train",
    doc="Trains.\nLong.",
    timeout=60,
    ports=[{"name": "web", "port": 8080, "proto": "http"}],
    parameters=[a_parameter("epochs")],
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        yield made


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "main.py"
    path.write_bytes(MAIN)
    return str(path)


async def deploy(
    world: CliWorld,
    code: str,
    *jobs: dict[str, Any],
    form: Form = Form.PEOPLE,
    **changes: Any,  # noqa: ANN401 - JSON is any
) -> tuple[int, Seen]:
    answer_describes(world.api, Report.of(a_manifest(*(jobs or (TRAIN,)), **changes)))
    return await world.run(chute_deploy.deploy, code, image="busybox", form=form)


async def test_a_deploy_says_what_can_be_started(world: CliWorld, code: str) -> None:
    status, seen = await deploy(world, code, notes=["Image: its steps are not run"])
    assert (status, seen.out.getvalue()) == (0, "trainer version 1: jobs train\n")
    assert "note: Image: its steps are not run" in seen.err.getvalue()


async def test_scripts_get_the_chute(world: CliWorld, code: str) -> None:
    _, seen = await deploy(world, code, form=Form.JSON)
    assert json.loads(seen.out.getvalue())["name"] == "trainer"


async def test_a_deploy_says_every_fault_and_its_way_out(world: CliWorld, code: str) -> None:
    status, seen = await deploy(world, code, a_job("slow", timeout=5), a_job("nightly", schedule="@reboot"))
    told = seen.err.getvalue()
    assert (status, seen.out.getvalue()) == (-1, "")
    assert "2 faults" in told
    assert "jobs.slow.timeout" in told
    assert "jobs.nightly.schedule" in told


async def test_a_deploy_that_takes_long_is_waited_for(
    world: CliWorld, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chute_deploy, "WAIT_SECONDS", 0)
    held = answer_describes(world.api, Report.of(a_manifest()))
    held.clear()
    running = asyncio.ensure_future(world.run(chute_deploy.deploy, code, image="busybox"))
    await until(lambda: any(job.kind is Kind.DESCRIBE for job in world.api.store.jobs()))
    assert not running.done()
    held.set()
    assert (await running)[0] == 0


async def test_a_refusal_that_took_long_is_told_like_any_other(
    world: CliWorld, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chute_deploy, "WAIT_SECONDS", 0)
    answer_describes(world.api, Report.of(a_manifest(a_job("slow", timeout=5))))
    status, seen = await world.run(chute_deploy.deploy, code, image="busybox")
    assert status == -1
    assert "jobs.slow.timeout" in seen.err.getvalue()


async def test_an_answer_that_was_lost_makes_no_second_version(world: CliWorld, code: str) -> None:
    world.proxy.cuts.append(0)
    status, seen = await deploy(world, code)
    assert status == 0
    assert "makes no second version" in seen.err.getvalue()
    assert len(world.api.store._versions) == 1


async def test_defaults_come_from_a_file(world: CliWorld, code: str, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"memory": "1GiB"}')
    answer_describes(world.api, Report.of(a_manifest()))
    spec = str(tmp_path / "spec.json")
    _, seen = await world.run(chute_deploy.deploy, code, image="busybox", spec=spec, form=Form.JSON)
    assert json.loads(seen.out.getvalue())["spec"] == {"memory": 1 << 30}


async def test_a_run_follows_the_job_and_prints_its_result(world: CliWorld, code: str) -> None:
    await deploy(world, code)
    answer_calls(world.api, Report(b'{"loss": 0.5}'))
    status, seen = await world.run(chutes.run, "trainer/train", payload='{"epochs": 3}')
    assert status == 0
    assert json.loads(seen.out.getvalue()) == {"loss": 0.5}
    (job,) = [job for job in world.api.store.jobs() if job.kind is Kind.FUNCTION]
    assert json.loads(await world.api.folders.payload(job.id)) == {"epochs": 3}


async def test_a_run_that_failed_prints_no_result_and_exits_with_the_jobs_code(
    world: CliWorld, code: str
) -> None:
    await deploy(world, code)
    answer_calls(world.api, Report.exits(3))
    status, seen = await world.run(chutes.run, "trainer/train", payload='{"epochs": 3}')
    assert (status, seen.out.getvalue()) == (3, "")


async def test_a_run_that_is_detached_prints_the_id(world: CliWorld, code: str) -> None:
    await deploy(world, code)
    status, seen = await world.run(chutes.run, "trainer/train", payload='{"epochs": 3}', detach=True)
    (job,) = [job for job in world.api.store.jobs() if job.kind is Kind.FUNCTION]
    assert (status, seen.out.getvalue()) == (0, f"{job.id}\n")


@pytest.mark.parametrize("target", ["trainer", "main.py:train", "/train", "trainer/"])
async def test_a_run_of_no_job_says_how_one_is_named(world: CliWorld, target: str) -> None:
    status, seen = await world.run(chutes.run, target)
    assert status == -1
    assert "NAME/JOB" in seen.err.getvalue()


async def test_a_payload_that_does_not_fit_is_told_with_the_signature(world: CliWorld, code: str) -> None:
    await deploy(world, code, a_job("train", parameters=[a_parameter("epochs"), a_parameter("rate")]))
    status, seen = await world.run(chutes.run, "trainer/train", payload='{"epochs": 3}')
    assert status == -1
    assert "train(epochs, rate)" in seen.err.getvalue()


async def test_chutes_are_listed_in_80_columns(world: CliWorld, code: str) -> None:
    await deploy(world, code, *[a_job(f"a_long_name_of_a_job_{number}") for number in range(9)])
    _, seen = await world.run(chute_list.ls)
    lines = seen.out.getvalue().splitlines()
    assert lines[0].split() == ["NAME", "VERSION", "JOBS", "IMAGE", "AGE"]
    assert lines[1].startswith("trainer")
    assert max(map(len, lines)) <= 80


async def test_without_chutes_the_list_says_how_one_is_made(world: CliWorld) -> None:
    status, seen = await world.run(chute_list.ls)
    assert status == 0
    assert "chute deploy" in seen.err.getvalue()


async def test_a_chute_is_shown_with_what_its_jobs_take(world: CliWorld, code: str) -> None:
    await deploy(world, code)
    await deploy(world, code, a_job("other"))
    _, seen = await world.run(chute_list.show, "trainer")
    told = seen.out.getvalue()
    for words in ("train(epochs)", "timeout 1m", "port web:8080/http", "Trains.", "main.py:chute"):
        assert words in told
    assert "Long." not in told


async def test_a_removed_chute_is_gone(world: CliWorld, code: str) -> None:
    await deploy(world, code)
    status, seen = await world.run(chute_list.remove, ["trainer"])
    assert (status, seen.out.getvalue()) == (0, "trainer\n")
    status, seen = await world.run(chute_list.show, "trainer")
    assert status == -1
    assert "no chute" in seen.err.getvalue()


CORDS = [
    {
        "function": "ask",
        "public_api_path": "/ask",
        "method": "POST",
        "doc": "Asks.\nLong.",
        "parameters": [a_parameter("value")],
    }
]


async def test_cords_are_shown_with_the_way_to_call_them(world: CliWorld, code: str) -> None:
    await deploy(world, code, cords=CORDS)
    _, seen = await world.run(chute_list.show, "trainer")
    told = seen.out.getvalue()
    assert "POST   /ask  ask(value)" in told
    assert "Asks." in told


async def answering(world: CliWorld, said: Said) -> None:
    """One call, on the job of cords that it starts."""
    async with asyncio.timeout(10):
        while not (jobs := [job for job in world.api.store.jobs() if job.kind is Kind.CORDS]):
            await asyncio.sleep(0.01)
        while jobs[0].id not in world.api.sockets.calls:
            await asyncio.sleep(0.01)

    async def author(_request: dict[str, Any]) -> Said:
        return said

    await world.api.sockets.calls[jobs[0].id].serve(FakeCordLine(author))


@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (404, 1)])
async def test_a_call_prints_what_the_cord_answers_whatever_that_is(
    world: CliWorld, code: str, status: int, exit_code: int
) -> None:
    await deploy(world, code, cords=CORDS)
    serving = asyncio.ensure_future(answering(world, whole({"a": 1}, status)))
    found, seen = await world.run(
        chute_call.call, "trainer", "post", "/ask?x=1", body='{"value": 2}', key="k"
    )
    assert (found, seen.raw_out.getvalue()) == (exit_code, b'{"a": 1}')
    serving.cancel()


async def test_a_call_of_no_cord_says_which_is_near(world: CliWorld, code: str) -> None:
    await deploy(world, code, cords=CORDS)
    status, seen = await world.run(chute_call.call, "trainer", "POST", "/aks")
    assert status == -1
    assert "did you mean /ask?" in seen.err.getvalue()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("FETCH", "/ask", None), ("GET", "ask", None), ("GET", "/a b", None), ("POST", "/ask", "{")],
)
async def test_a_call_that_can_not_be_sent_is_refused_here(
    world: CliWorld, method: str, path: str, body: str | None
) -> None:
    status, _ = await world.run(chute_call.call, "trainer", method, path, body=body)
    assert status == -1
