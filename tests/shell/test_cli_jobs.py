"""Commands of one request: submit, ps, show, stop, rm, host, images, events; ids by their beginnings; answers that get lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.cli import events, host, jobs, pages
from agent.cli.client import connect
from agent.cli.ids import find_job
from agent.cli.refusals import (
    ApiRefusedError,
    NotAnAgentError,
    NotReachableError,
    SocketForbiddenError,
    document_of,
)
from agent.cli.request import get
from agent.cli.screen import Form
from agent.cli.target import Target
from agent.core.container import PullProgress
from agent.interfaces import PullFailedError
from tests.fakes.engine import Program
from tests.shell.cli_world import CliWorld, cli_world

FIRST, SECOND = "0190aaaa-0000-7000-8000-000000000001", "0190aaaa-0000-7000-8000-000000000002"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[CliWorld]:
    async with cli_world(tmp_path) as made:
        yield made


def spec(tmp_path: Path, **fields: object) -> str:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"image": "busybox", **fields}))
    return str(path)


async def finished(world: CliWorld, tmp_path: Path, **fields: object) -> str:
    world.engine.program = Program(seconds=0.0, code=0)
    _, seen = await world.run(jobs.submit, spec(tmp_path, **fields), form=Form.JSON)
    job_id = str(json.loads(seen.out.getvalue())["id"])
    await world.run(jobs.stop, [job_id], wait=True)
    return job_id


async def test_submit_prints_the_id_and_for_scripts_the_job(world: CliWorld, tmp_path: Path) -> None:
    code, seen = await world.run(jobs.submit, spec(tmp_path))
    assert (code, seen.out.getvalue()) == (0, f"{FIRST}\n")
    code, seen = await world.run(jobs.submit, spec(tmp_path, name="other"), form=Form.JSON)
    assert json.loads(seen.out.getvalue())["spec"]["name"] == "other"


async def test_one_key_makes_one_job(world: CliWorld, tmp_path: Path) -> None:
    ids = {(await world.run(jobs.submit, spec(tmp_path), key="k"))[1].out.getvalue() for _ in range(2)}
    assert ids == {f"{FIRST}\n"}
    code, seen = await world.run(jobs.submit, spec(tmp_path, name="other"), key="k")
    assert code == -1
    assert "idempotency_conflict" in seen.err.getvalue()


@pytest.mark.parametrize("answer_bytes", [0, 30])
async def test_a_lost_answer_makes_no_second_job(world: CliWorld, tmp_path: Path, answer_bytes: int) -> None:
    world.proxy.cuts.extend([answer_bytes, answer_bytes])
    code, seen = await world.run(jobs.submit, spec(tmp_path))
    assert (code, seen.out.getvalue()) == (0, f"{FIRST}\n")
    assert seen.err.getvalue() == "the answer was lost; asking again, which makes no second job\n"
    assert len(await world.api.store.job_ids()) == 1
    assert world.proxy.connections == 3


async def test_a_spec_that_is_no_json_is_refused_here_and_a_bad_one_there(
    world: CliWorld, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text("{")
    for path, told in ((tmp_path / "bad.json", "no JSON"), (tmp_path / "missing", "can't be read")):
        code, seen = await world.run(jobs.submit, str(path))
        assert code == -1
        assert told in seen.err.getvalue()
    code, seen = await world.run(jobs.submit, spec(tmp_path, gpus=1))
    assert code == -1
    assert "gpus_never_fit" in seen.err.getvalue()
    code, seen = await world.run(jobs.submit, spec(tmp_path, volumes=["data"]))
    assert "volumes is known, but this version does nothing with it yet" in seen.err.getvalue()


async def test_ps_lists_what_is_not_finished_and_with_a_everything(world: CliWorld, tmp_path: Path) -> None:
    await finished(world, tmp_path, name="done")
    world.engine.program = Program()
    await world.run(jobs.submit, spec(tmp_path, name="lasting", labels={"team": "a"}))
    code, seen = await world.run(jobs.ps)
    assert code == 0
    assert "lasting" in seen.out.getvalue()
    assert "done" not in seen.out.getvalue()
    _, seen = await world.run(jobs.ps, every=True, form=Form.JSON)
    page = json.loads(seen.out.getvalue())
    assert [job["name"] for job in page["items"]] == ["lasting", "done"]
    assert page["next"] is None
    _, seen = await world.run(jobs.ps, every=True, label=["team=a"], form=Form.JSON)
    assert [job["name"] for job in json.loads(seen.out.getvalue())["items"]] == ["lasting"]


async def test_ps_reads_page_after_page_and_says_when_there_are_more(
    world: CliWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await world.run(jobs.submit, spec(tmp_path, not_before="2090-01-01T00:00:00Z", name=f"job {number}"))
    monkeypatch.setattr(pages, "PAGE", 2)
    _, seen = await world.run(jobs.ps, limit=4, form=Form.JSON)
    page = json.loads(seen.out.getvalue())
    assert [job["name"] for job in page["items"]] == ["job 4", "job 3", "job 2", "job 1"]
    assert page["next"]
    _, seen = await world.run(jobs.ps, limit=4)
    assert seen.err.getvalue() == "there are more than 4; -n shows them\n"


async def test_a_beginning_of_an_id_is_enough_where_it_is_unique(world: CliWorld, tmp_path: Path) -> None:
    await world.run(jobs.submit, spec(tmp_path))
    _, seen = await world.run(jobs.show, "0190AA", form=Form.JSON)
    assert json.loads(seen.out.getvalue())["id"] == FIRST
    await world.run(jobs.submit, spec(tmp_path, name="second"))
    code, seen = await world.run(jobs.show, "0190aa")
    told = seen.err.getvalue()
    assert code == -1
    assert f"{FIRST}  busybox" in told
    assert f"{SECOND}  second" in told
    for given in ("ffff", "no-hex", ""):
        code, seen = await world.run(jobs.show, given)
        assert (code, "job_prefix_unknown" in seen.err.getvalue()) == (-1, True)


async def test_a_whole_id_costs_no_question(world: CliWorld) -> None:
    async with connect(Target("http://x", "/nowhere.sock")) as api:
        assert await find_job(api, SECOND.upper()) == SECOND


async def test_stop_ends_a_job_as_cancelled_and_rm_forgets_it(world: CliWorld, tmp_path: Path) -> None:
    world.engine.program = Program()
    await world.run(jobs.submit, spec(tmp_path))
    code, seen = await world.run(jobs.remove, [FIRST])
    assert (code, "job_not_finished" in seen.err.getvalue()) == (-1, True)
    code, seen = await world.run(jobs.stop, [FIRST], wait=True, grace=1)
    assert (code, seen.out.getvalue()) == (0, f"{FIRST} cancelled\n")
    code, seen = await world.run(jobs.stop, [FIRST])
    assert (code, "job_finished" in seen.err.getvalue()) == (-1, True)
    code, seen = await world.run(jobs.remove, [FIRST])
    assert (code, seen.out.getvalue()) == (0, f"{FIRST}\n")
    assert await world.api.store.job_ids() == set()


async def test_events_of_the_past_end_and_those_of_a_job_are_its_own(world: CliWorld, tmp_path: Path) -> None:
    await finished(world, tmp_path)
    await finished(world, tmp_path)
    async with asyncio.timeout(0.6):  # the API says where the past ends; a pause need not be waited for
        _, seen = await world.run(events.events, SECOND, form=Form.JSON)
    told: list[dict[str, Any]] = [json.loads(line) for line in seen.out.getvalue().splitlines()]
    assert {event["job"] for event in told} == {SECOND}
    assert [event["n"] for event in told] == list(range(1, len(told) + 1))
    assert told[-1]["data"]["to"] == "finished"
    _, seen = await world.run(events.events, None, after=told[-2]["seq"])
    assert len(seen.out.getvalue().splitlines()) == 1


async def test_host_show_and_images_pull(world: CliWorld) -> None:
    code, seen = await world.run(host.show)
    assert code == 0
    assert "20000-20009: 0 held" in seen.out.getvalue()
    world.api.pulls.extend([PullProgress(1, 2, 0, 1), PullProgress(2, 2, 1, 1)])
    code, seen = await world.run(host.pull, "busybox")
    assert (code, seen.out.getvalue()) == (0, "busybox is here\n")
    world.api.pulls.append(PullFailedError("image_denied", "the registry said no"))
    code, seen = await world.run(host.pull, "busybox")
    assert code == -1
    assert "the registry said no" in seen.err.getvalue()


async def test_a_socket_that_may_not_be_opened_is_told_from_one_where_nobody_is(
    world: CliWorld, tmp_path: Path
) -> None:
    async def ask(path: Path) -> Exception:
        async with connect(Target("http://x", str(path))) as api:
            with pytest.raises((NotReachableError, SocketForbiddenError)) as caught:
                await api.ask(get("/v1/host"))
            return caught.value

    assert isinstance(await ask(tmp_path / "missing.sock"), NotReachableError)
    await world.proxy.close()
    assert isinstance(await ask(world.proxy.path), NotReachableError)
    refused = SocketForbiddenError("x")
    assert "group gpu-agent" in document_of(refused)["remedy"]


async def test_a_bad_token_and_a_stranger_at_the_address_are_told_apart(world: CliWorld) -> None:
    async with connect(Target(world.api.url, token="gat_wrong")) as api:
        with pytest.raises(ApiRefusedError) as caught:
            await api.ask(get("/v1/jobs"))
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    async with connect(Target(world.api.url, token=world.api.token)) as api:
        assert (await api.ask(get("/v1/jobs")))["items"] == []

    for answer in (
        b"404 Not Found\r\nContent-Length: 4",
        b"302 Found\r\nLocation: /v1/jobs\r\nContent-Length: 4",
    ):
        async with stranger(answer) as (url, met), connect(Target(url, token="t")) as api:
            with pytest.raises(NotAnAgentError):
                await api.ask(get("/v1/jobs"))
            assert met == [1]


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that is no agent, its URL, and how many requests it met."""
    met: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        met.append(1)
        writer.write(b"HTTP/1.1 " + answer + b"\r\nConnection: close\r\n\r\nwhat")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", met
