"""Uploads on the command line: `run` and `stop` while outputs leave, `show`, `ps` and `outputs ls` of them, `outputs retry`."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent.cli import jobs, outputs, retrying, run
from agent.cli.screen import Form
from agent.core.delivery import Sent
from agent.core.upload import MANIFEST
from tests.fakes.engine import Program
from tests.shell.api_world import until
from tests.shell.cli_world import CliWorld, Seen, cli_world
from tests.shell.upload_jobs import OPEN_PUT, PUT, SECRET, Held, begun, container_of, end, finished

FILES = {"a.txt": b"aaa", "models/b.bin": b"b" * 10_000, "c": b""}
JOB = "0190aaaa-0000-7000-8000-000000000001"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    (tmp_path / "host").mkdir()
    async with cli_world(tmp_path / "host") as made:
        yield made


def written(tmp_path: Path, upload: object = PUT) -> str:
    path = tmp_path / "upload.json"
    path.write_text(json.dumps(upload))
    return str(path)


async def running_job(world: CliWorld, seen: Seen, **options: object) -> tuple["asyncio.Future[int]", str]:
    """`run` on its way, with a job that has written FILES."""
    world.engine.program = Program()
    task = asyncio.ensure_future(world.run_on(seen, run.run, "busybox", **options))
    await until(lambda: container_of(world.api, JOB) is not None)
    root = world.api.state / "jobs" / JOB / "outputs"
    (root / "models").mkdir()
    for name, content in FILES.items():
        (root / name).write_bytes(content)
    return task, JOB


@pytest.mark.slow
async def test_run_tells_the_outcome_then_that_outputs_leave_and_that_they_have(
    world: CliWorld, tmp_path: Path
) -> None:
    held, seen = Held(world.api, "models/b.bin"), Seen()
    running, job_id = await running_job(world, seen, upload=written(tmp_path))
    end(world.api, job_id)
    await until(lambda: "sending outputs\n" in seen.err.getvalue(), 10)
    held.free.set()
    assert await asyncio.wait_for(running, 10) == 0
    told = seen.err.getvalue().splitlines()
    assert told[told.index("succeeded after 0s") :] == [
        "succeeded after 0s",
        "sending outputs",
        "outputs sent: 3 files, 9.8 KiB",
    ]
    assert world.api.deliveries.of(job_id) == FILES


@pytest.mark.slow
async def test_on_a_terminal_run_draws_how_far_outputs_are_and_says_each_trouble_once(
    world: CliWorld, tmp_path: Path
) -> None:
    held, seen, gate = Held(world.api, "models/b.bin", refused=("c",)), Seen(), asyncio.Event()

    async def wait_for_gate(path: str) -> Sent:
        if path == "models/b.bin":
            await gate.wait()
        return Sent()

    world.api.deliveries.before_reading = wait_for_gate
    drawn = StringIO()
    seen.terminal = Console(file=drawn, width=80, force_terminal=True, highlight=False, markup=False)
    running, job_id = await running_job(world, seen, upload=written(tmp_path))
    end(world.api, job_id)
    await until(lambda: "0.0/9.8 KiB" in drawn.getvalue(), 10)
    gate.set()
    await until(lambda: "9.8/9.8 KiB" in drawn.getvalue(), 10)
    held.free.set()
    assert await asyncio.wait_for(running, 10) == 125
    assert "sending outputs" in drawn.getvalue()
    assert drawn.getvalue().count("outputs: c: the endpoint refused (403)") == 1


async def test_run_whose_outputs_did_not_all_leave_is_125_and_says_how_to_send_them(
    world: CliWorld, tmp_path: Path
) -> None:
    Held(world.api, refused=("c",))
    seen = Seen()
    running, job_id = await running_job(world, seen, upload=written(tmp_path))
    end(world.api, job_id)
    assert await asyncio.wait_for(running, 10) == 125
    told = seen.err.getvalue()
    assert "succeeded after 0s\noutputs partial: 2 of 3 files" in told
    assert "c: the endpoint refused (403) [status_refused, blame user]" in told
    assert told.endswith(f"what did not leave is kept; send it with: gpu-agent outputs retry {job_id}\n")


async def test_a_jobs_own_code_goes_before_what_became_of_its_outputs(
    world: CliWorld, tmp_path: Path
) -> None:
    Held(world.api, refused=("c",))
    seen = Seen(Form.JSON)
    running, job_id = await running_job(world, seen, upload=written(tmp_path))
    end(world.api, job_id, code=3)
    assert await asyncio.wait_for(running, 10) == 3
    assert json.loads(seen.out.getvalue())["upload"]["state"] == "partial"
    assert seen.err.getvalue() == ""


async def test_stop_of_a_job_whose_outputs_leave_says_that_only_these_are_stopped(world: CliWorld) -> None:
    held = Held(world.api, "models/b.bin")
    job_id = await mine(world, begun)
    end(world.api, job_id)
    await until(lambda: bool(held.met))
    code, seen = await world.run(jobs.stop, [job_id], wait=True)
    told = f"{job_id} succeeded, and stays so; no more of its outputs are sent\n"
    assert (code, seen.out.getvalue()) == (0, told)
    _, seen = await world.run(jobs.show, job_id)
    assert "  partial: 2 of 3 files" in seen.out.getvalue()
    assert "the upload was cancelled" in seen.out.getvalue()


async def mine(world: CliWorld, make: Any, *args: object, **options: object) -> str:  # noqa: ANN401 - a coroutine function
    """A job of the socket's own principal."""
    world.api.token = await world.api.new_token("local")
    return str(await make(world.api, FILES, *args, **options))


async def test_a_job_on_its_way_shows_it_in_ps_show_and_outputs(world: CliWorld) -> None:
    held = Held(world.api, "models/b.bin", refused=("c",))
    job_id = await mine(world, begun)
    end(world.api, job_id)
    await until(lambda: bool(held.met))
    _, seen = await world.run(jobs.ps)
    assert "sent 100%" in seen.out.getvalue()
    _, seen = await world.run(jobs.show, job_id)
    assert "succeeded (its outputs leave)" in seen.out.getvalue()
    assert "sending: " in seen.out.getvalue()
    assert "█" not in seen.out.getvalue()
    _, seen = await world.run(outputs.ls, job_id)
    told = seen.out.getvalue()
    assert "sending 100%  models/b.bin" in told
    assert "did not leave: the endpoint refused (403): c\n" in told
    _, seen = await world.run(outputs.ls, job_id, form=Form.JSON)
    items = json.loads(seen.out.getvalue())["items"]
    assert {file["path"]: file["upload"]["state"] for file in items}["models/b.bin"] == "sending"
    held.free.set()
    assert all(SECRET not in text for text in (told, seen.out.getvalue()))


@pytest.mark.parametrize("wrap", [lambda upload: upload, lambda upload: {"upload": upload}])
async def test_retry_sends_what_did_not_leave_and_with_wait_says_how_it_ended(
    world: CliWorld,
    tmp_path: Path,
    wrap: Any,  # noqa: ANN401 - a lambda
) -> None:
    held = Held(world.api, refused=("c",))
    job_id = await mine(world, finished)
    upload = written(tmp_path, wrap(PUT))
    code, seen = await world.run(retrying.retry, job_id, upload=upload, wait=True)
    assert (code, seen.out.getvalue()) == (1, f"{job_id} partial\n")
    assert "c: the endpoint refused (403)" in seen.err.getvalue()
    held.refused = ()
    world.api.deliveries.tries.clear()
    code, seen = await world.run(retrying.retry, job_id, upload=upload, wait=True, form=Form.JSON)
    told = json.loads(seen.out.getvalue())
    assert (code, told["job"], told["state"], told["files_done"]) == (0, job_id, "complete", 3)
    assert (world.api.deliveries.tries, seen.err.getvalue()) == (["c", MANIFEST], "")


async def test_retry_does_not_wait_unless_it_is_asked_to(world: CliWorld) -> None:
    held = Held(world.api, refused=("c",))
    job_id = await mine(world, finished, OPEN_PUT)
    stuck = Held(world.api, "c")
    code, seen = await world.run(retrying.retry, job_id)
    assert (code, seen.out.getvalue()) == (0, f"{job_id} sending\n")
    await until(lambda: bool(stuck.met))
    code, seen = await world.run(retrying.retry, job_id)
    assert (code, "upload_not_over" in seen.err.getvalue()) == (-1, True)
    code, seen = await world.run(jobs.stop, [job_id])
    assert (code, "no more of its outputs are sent" in seen.out.getvalue()) == (0, True)
    assert held.met == set()


async def test_retry_without_the_secrets_says_where_they_are_to_be_written(world: CliWorld) -> None:
    Held(world.api, refused=("c",))
    job_id = await mine(world, finished)
    code, seen = await world.run(retrying.retry, job_id)
    assert code == -1
    assert "upload_needed" in seen.err.getvalue()
    assert "--upload FILE.json" in seen.err.getvalue()
    _, seen = await world.run(retrying.retry, job_id, form=Form.JSON)
    assert json.loads(seen.err.getvalue())["code"] == "upload_needed"


async def test_a_file_that_holds_no_upload_is_refused_here_or_by_name_there(
    world: CliWorld, tmp_path: Path
) -> None:
    Held(world.api, refused=("c",))
    job_id = await mine(world, finished)
    for upload, said in (([], "holds no object"), ({"to": "put"}, "upload.url `to: put` needs url or presign")):  # fmt: skip
        code, seen = await world.run(retrying.retry, job_id, upload=written(tmp_path, upload))
        assert (code, said in seen.err.getvalue()) == (-1, True), seen.err.getvalue()
    code, seen = await world.run(retrying.retry, job_id, upload=str(tmp_path / "missing"))
    assert (code, "can't be read" in seen.err.getvalue()) == (-1, True)


@pytest.mark.slow
async def test_run_and_stop_wait_through_an_absence_of_the_agent_while_outputs_leave(
    world: CliWorld, tmp_path: Path
) -> None:
    held, seen = Held(world.api, "models/b.bin"), Seen()
    running, job_id = await running_job(world, seen, upload=written(tmp_path))
    end(world.api, job_id)
    await until(lambda: "sending outputs\n" in seen.err.getvalue(), 10)
    await world.proxy.close()
    held.free.set()
    await until(lambda: "the agent is away" in seen.err.getvalue())
    await world.proxy.reopen()
    assert await asyncio.wait_for(running, 10) == 0
    assert "outputs sent: 3 files" in seen.err.getvalue()
