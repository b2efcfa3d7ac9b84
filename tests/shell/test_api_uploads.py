"""Uploads as the API shows them and is asked about them: each state of a job and of its files, a retry, a cancel, and no secret."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.api.schemas import component_schemas
from agent.api.tokens import Scope
from agent.core.event_form import show_event
from agent.core.job import Viewer
from agent.core.upload import MANIFEST
from agent.spec import Upload
from tests.shell.api_world import BODY, ApiWorld, api_world, running, until
from tests.shell.upload_jobs import (
    OPEN_PUT,
    PUT,
    SECRET,
    Held,
    begun,
    end,
    files_of,
    finished,
    upload_of,
)

FILES = {"a.txt": b"aaa", "models/b.bin": b"b" * 10_000, "c": b""}
NOTHING = {
    "files_done": 0, "files_total": None, "files_failed": 0, "bytes_done": 0, "bytes_total": None,
    "rate": None, "eta": None, "last_error": None,
}  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made, running(made):
        yield made


async def phase_of(world: ApiWorld, job_id: str) -> str:
    return str((await world.call("GET", f"/v1/jobs/{job_id}")).json["phase"])


async def retry(world: ApiWorld, job_id: str, body: object = None, **options: Any) -> tuple[int, Any]:  # noqa: ANN401 - JSON is any
    reply = await world.call("POST", f"/v1/jobs/{job_id}/outputs/retry", body, **options)
    assert SECRET.encode() not in reply.raw
    return reply.status, reply.json


async def over(world: ApiWorld, job_id: str) -> Any:  # noqa: ANN401 - JSON is any
    """The upload, once nothing of it is under way, and the job is finished."""
    async with asyncio.timeout(5):
        while await phase_of(world, job_id) != "finished" or (await upload_of(world, job_id))["state"] == "sending":  # fmt: skip
            await asyncio.sleep(0.01)
    return await upload_of(world, job_id)


# ── what is shown ──


async def test_outputs_that_stay_have_no_upload(world: ApiWorld) -> None:
    job_id = await finished(world, FILES, upload=None)
    assert await upload_of(world, job_id) is None
    assert set((await files_of(world, job_id)).values()) == {None}


async def test_an_upload_waits_until_the_job_has_ended(world: ApiWorld) -> None:
    job_id = await begun(world, FILES)
    assert await upload_of(world, job_id) == {"state": "waiting", **NOTHING}
    assert set((await files_of(world, job_id)).values()) == {None}


async def test_an_upload_that_the_outcome_does_not_want_is_skipped(world: ApiWorld) -> None:
    job_id = await finished(world, FILES, on="failure")
    assert await upload_of(world, job_id) == {"state": "skipped", **NOTHING}
    assert await retry(world, job_id, {"upload": PUT}) == (409, problem("nothing_to_retry"))


async def test_while_files_leave_it_is_shown_how_far_they_are_and_how_fast(world: ApiWorld) -> None:
    held = Held(world, "models/b.bin")
    job_id = await begun(world, FILES)
    end(world, job_id)
    await until(lambda: bool(held.met))
    await asyncio.sleep(0.05)
    assert await phase_of(world, job_id) == "uploading"
    found = (await world.call("GET", f"/v1/jobs/{job_id}")).json["upload"]
    assert (found["state"], found["files_done"], found["files_total"]) == ("sending", 2, 3)
    assert (found["bytes_done"], found["bytes_total"], found["last_error"]) == (10_003, 10_003, None)
    assert found["rate"] > 0
    assert found["eta"] == 0
    files = await files_of(world, job_id)
    assert files["models/b.bin"] == {"state": "sending", "bytes_done": 10_000, "last_error": None}
    assert files["a.txt"] == {"state": "sent", "bytes_done": 3, "last_error": None}
    held.free.set()
    assert await over(world, job_id) == {
        **NOTHING, "state": "complete", "files_done": 3, "files_total": 3, "bytes_done": 10_003, "bytes_total": 10_003,
    }  # fmt: skip
    assert {file["state"] for file in (await files_of(world, job_id)).values()} == {"sent"}
    assert world.deliveries.of(job_id) == FILES


async def test_what_the_endpoint_refuses_leaves_a_partial_upload_that_says_why(world: ApiWorld) -> None:
    Held(world, refused=("c",))
    job_id = await finished(world, FILES)
    found = await upload_of(world, job_id)
    assert (found["state"], found["files_done"], found["files_failed"]) == ("partial", 2, 1)
    error = found["last_error"]
    assert {name: error[name] for name in ("code", "path", "status", "blame", "message")} == {
        "code": "status_refused", "path": "c", "status": 403, "blame": "user", "message": "the endpoint refused",
    }  # fmt: skip
    assert "retry" in error["remedy"]
    files = await files_of(world, job_id)
    assert files["c"] == {"state": "failed", "bytes_done": 0, "last_error": error}
    assert (await world.call("GET", f"/v1/jobs/{job_id}")).json["outcome"] == "succeeded"


async def test_an_upload_of_which_nothing_left_has_failed(world: ApiWorld) -> None:
    Held(world, refused=tuple(FILES))
    found = await upload_of(world, await finished(world, FILES))
    assert (found["state"], found["files_done"], found["files_failed"]) == ("failed", 0, 3)


async def test_a_file_that_is_another_than_the_one_that_was_sent_has_not_left(world: ApiWorld) -> None:
    job_id = await finished(world, FILES)
    (world.state / "jobs" / job_id / "outputs" / "a.txt").write_bytes(b"another")
    files = await files_of(world, job_id)
    assert (files["a.txt"], files["c"]["state"]) == (None, "sent")


# ── again ──


def problem(code: str) -> object:
    """Equal to the problem documents of that code that say what to do."""

    class Such:
        def __eq__(self, document: object) -> bool:
            return isinstance(document, dict) and document["code"] == code and bool(document["remedy"])

        def __hash__(self) -> int:
            return hash(code)

    return Such()


async def test_a_list_of_many_files_holds_only_some_of_their_journal_at_once(world: ApiWorld) -> None:
    job_id = await finished(world, {f"f{number:03}": b"x" for number in range(600)})
    steps = list[str]()

    async def before(step: str) -> None:
        await asyncio.sleep(0)
        steps.append(step)

    world.store.before = before
    assert {known["state"] for known in (await files_of(world, job_id)).values()} == {"sent"}
    assert (steps.count("journal"), steps.count("journal_of")) == (0, 3)


async def test_a_retry_sends_what_did_not_leave_and_changes_nothing_else_of_the_job(world: ApiWorld) -> None:
    held = Held(world, refused=("c",))
    job_id = await finished(world, FILES)
    before = (await world.call("GET", f"/v1/jobs/{job_id}")).json
    held.refused = ()
    world.deliveries.tries.clear()
    assert await retry(world, job_id, {"upload": PUT}) == (202, {"job": job_id, "state": "sending"})
    assert (await over(world, job_id))["state"] == "complete"
    assert world.deliveries.tries == ["c", MANIFEST]
    after = (await world.call("GET", f"/v1/jobs/{job_id}")).json
    assert {**after, "upload": None} == {**before, "upload": None}


async def test_a_retry_without_a_body_goes_where_the_spec_says_if_that_holds_no_secret(
    world: ApiWorld,
) -> None:
    held = Held(world, refused=("c",))
    job_id = await finished(world, FILES, OPEN_PUT)
    held.refused = ()
    for data in (None, b""):
        status, _ = await retry(world, job_id, data=data)
        assert status == (202 if data is None else 409)
        await over(world, job_id)
    assert await retry(world, job_id) == (409, problem("nothing_to_retry"))


async def test_a_retry_whose_secrets_are_gone_asks_for_them(world: ApiWorld) -> None:
    Held(world, refused=("c",))
    job_id = await finished(world, FILES)
    assert await retry(world, job_id) == (422, problem("upload_needed"))
    assert (await upload_of(world, job_id))["state"] == "partial"


async def test_a_retry_is_refused_while_the_upload_is_under_way_the_first_and_any_other(
    world: ApiWorld,
) -> None:
    job_id = await begun(world, FILES)
    assert await retry(world, job_id, {"upload": PUT}) == (409, problem("upload_not_over"))
    held = Held(world, "a.txt", refused=("a.txt",))
    end(world, job_id)
    await until(lambda: bool(held.met))
    assert await retry(world, job_id, {"upload": PUT}) == (409, problem("upload_not_over"))
    held.free.set()
    await over(world, job_id)
    again = Held(world, "a.txt")
    assert (await retry(world, job_id, {"upload": PUT}))[0] == 202
    await until(lambda: bool(again.met))
    assert await retry(world, job_id, {"upload": PUT}) == (409, problem("upload_not_over"))
    again.free.set()
    assert (await over(world, job_id))["state"] == "complete"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "body"),
        ({}, "body"),
        ({"upload": PUT, "more": 1}, "body"),
        ({"upload": {"to": "local"}}, "upload.to"),
        ({"upload": {"to": "ftp"}}, "upload.to"),
        ({"upload": 1}, "upload"),
        ({"upload": {"to": "put"}}, "upload.url"),
        ({"upload": {"to": "put", "url": f"https://store.example.org/{SECRET}"}}, "upload.url"),
        ({"upload": {"to": "put", "url": f"http://store.example.org/{{path}}?{SECRET}"}}, "upload.url"),
        ({"upload": {"to": "tus", "url": f"https://169.254.169.254/{SECRET}"}}, "upload.url"),
        ({"upload": {"to": "put", "presign": f"http://a.example.org/{SECRET}"}}, "upload.presign"),
        ({"upload": {**PUT, "headers": {"Host": SECRET}}}, "upload.headers.Host"),
        ({"upload": {**PUT, "metadata": {"a": SECRET}}}, "upload.metadata"),
    ],
)
async def test_what_a_retry_asks_for_is_refused_by_the_name_that_it_has_there(
    world: ApiWorld, body: object, named: str
) -> None:
    Held(world, refused=("c",))
    job_id = await finished(world, FILES)
    status, document = await retry(world, job_id, body)
    assert (status, document["code"]) == (422, "spec_refused")
    assert {fault["field"] for fault in document["faults"]} == {named}
    assert all(fault["remedy"] for fault in document["faults"])
    assert "outputs.upload" not in json.dumps(document)
    assert (await upload_of(world, job_id))["state"] == "partial"


async def test_a_retry_is_for_whoever_may_write_and_another_s_job_is_not_there(world: ApiWorld) -> None:
    Held(world, refused=("c",))
    job_id = await finished(world, FILES)
    reader = await world.new_token("alice", (Scope.JOBS_READ,))
    status, document = await retry(world, job_id, {"upload": PUT}, token=reader)
    assert (status, document["code"]) == (403, "scope_missing")
    bob = await world.new_token("bob")
    missing = await retry(world, job_id[:-1] + "9", {"upload": PUT}, token=bob)
    status, document = await retry(world, job_id, {"upload": PUT}, token=bob)
    assert (status, document["code"]) == (404, missing[1]["code"])
    assert json.dumps(document).replace(job_id, job_id[:-1] + "9") == json.dumps(missing[1])


async def test_a_body_that_is_no_json_is_refused(world: ApiWorld) -> None:
    job_id = await finished(world, FILES)
    assert (await retry(world, job_id, data=f'{{"upload": {SECRET}'.encode()))[0] == 400


# ── cancelled ──


async def test_a_cancel_while_files_leave_ends_the_upload_and_a_second_one_is_fine(world: ApiWorld) -> None:
    held = Held(world, "models/b.bin")
    job_id = await begun(world, FILES)
    end(world, job_id)
    await until(lambda: bool(held.met))
    for _ in range(2):
        reply = await world.call("POST", f"/v1/jobs/{job_id}/cancel")
        assert (reply.status, reply.json["outcome"]) == (202, "succeeded")
    job = (await world.call("GET", f"/v1/jobs/{job_id}?wait=finished")).json
    assert (job["phase"], job["outcome"], job["upload"]["state"]) == ("finished", "succeeded", "partial")
    assert job["upload"]["last_error"]["code"] == "upload_cancelled"
    reply = await world.call("POST", f"/v1/jobs/{job_id}/cancel")
    assert (reply.status, reply.json["code"]) == (409, "job_finished")


async def test_a_cancel_ends_a_retry_too_so_that_it_can_be_sent_elsewhere(world: ApiWorld) -> None:
    held = Held(world, refused=("c",))
    job_id = await finished(world, FILES)
    stuck = Held(world, "c")
    assert (await retry(world, job_id, {"upload": PUT}))[0] == 202
    await until(lambda: bool(stuck.met))
    reply = await world.call("POST", f"/v1/jobs/{job_id}/cancel")
    assert (reply.status, reply.json["phase"], reply.json["outcome"]) == (202, "finished", "succeeded")
    assert reply.json["upload"]["state"] == "partial"
    assert reply.json["upload"]["last_error"]["code"] == "upload_cancelled"
    assert (await world.call("POST", f"/v1/jobs/{job_id}/cancel")).status == 409
    assert await world.folders.upload_target(job_id) is None
    held = Held(world)
    elsewhere = {"to": "put", "url": "https://other.example.org/{path}"}
    assert (await retry(world, job_id, {"upload": elsewhere}))[0] == 202
    assert (await over(world, job_id))["state"] == "complete"
    assert held.met == set()
    assert world.deliveries.of(job_id) == FILES


async def test_a_job_that_is_forgotten_sends_nothing_more(world: ApiWorld) -> None:
    Held(world, refused=("c",))
    job_id = await finished(world, FILES)
    stuck = Held(world, "c")
    assert (await retry(world, job_id, {"upload": PUT}))[0] == 202
    await until(lambda: bool(stuck.met))
    assert (await world.call("DELETE", f"/v1/jobs/{job_id}")).status == 204
    assert world.deliveries.at_once == 0


async def test_a_cancel_of_a_job_that_sends_nothing_comes_too_late_once_it_has_ended(world: ApiWorld) -> None:
    job_id = await finished(world, FILES, on="failure")
    assert (await world.call("POST", f"/v1/jobs/{job_id}/cancel")).status == 409


# ── secrets, and the description ──


async def test_no_answer_event_or_log_line_holds_what_opens_the_endpoint(world: ApiWorld) -> None:
    with structlog.testing.capture_logs() as said:
        Held(world, refused=("c",))
        job_id = await finished(world, FILES)
        await retry(world, job_id, {"upload": PUT})
        await over(world, job_id)
    paths = ("", "/outputs", "/outputs?digest=none", "?wait=finished&timeout=0")
    answers = [(await world.call("GET", f"/v1/jobs/{job_id}{path}")).raw for path in paths]
    answers.append((await world.call("GET", "/v1/jobs")).raw)
    events = [show_event(event) for event in await world.store.events(Viewer("alice"), 0, job_id, 1000)]
    kinds = [event["type"] for event in events if str(event["type"]).startswith("upload.")]
    assert kinds == ["upload.began", "upload.ended"] * 2
    for text in (*map(bytes.decode, answers), json.dumps(events), repr(said)):
        assert SECRET not in text
    assert any(line["event"] == "upload.trouble" for line in said)
    assert not [file for file in world.state.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]  # fmt: skip


async def test_the_description_fits_what_is_answered_in_every_state(world: ApiWorld) -> None:
    schemas = component_schemas()

    async def check(job_id: str) -> str:
        job = (await world.call("GET", f"/v1/jobs/{job_id}")).json
        page = (await world.call("GET", f"/v1/jobs/{job_id}/outputs")).json
        assert misfits(schemas["Job"]["properties"]["upload"], job["upload"]) == []
        assert misfits(schemas["OutputPage"], page) == []
        return str(job["upload"]["state"]) if job["upload"] else "none"

    seen = {await check(await finished(world, FILES, upload=None))}
    seen.add(await check(await finished(world, FILES, on="failure")))
    held = Held(world, "a.txt", refused=("c",))
    job_id = await begun(world, FILES)
    seen.add(await check(job_id))
    end(world, job_id)
    await until(lambda: bool(held.met))
    await asyncio.sleep(0.05)
    seen.add(await check(job_id))
    held.free.set()
    await over(world, job_id)
    seen.add(await check(job_id))
    Held(world, refused=tuple(FILES))
    seen.add(await check(await finished(world, FILES)))
    Held(world)
    seen.add(await check(await finished(world, FILES)))
    assert seen == {"none", "skipped", "waiting", "sending", "partial", "failed", "complete"}


def misfits(schema: Mapping[str, Any], value: object, at: str = "") -> list[str]:
    """Where the value is not as this part of JSON schema has it, or has a name that the schema does not."""
    if "anyOf" in schema:
        ways = [misfits(way, value, at) for way in schema["anyOf"]]
        return [] if [] in ways else ways[0]
    types = {
        "null": type(None), "string": str, "integer": int, "number": (int, float), "object": dict, "array": list,
    }  # fmt: skip
    wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, types[name]) for name in wanted) or (
        "enum" in schema and value not in schema["enum"]
    ):
        return [f"{at}: {value!r}"]
    if isinstance(value, list):
        return [found for item in value for found in misfits(schema["items"], item, f"{at}[]")]
    if isinstance(value, dict):
        assert schema["required"] == list(schema["properties"])
        found = [] if list(value) == list(schema["properties"]) else [f"{at}: {list(value)}"]
        return found + [
            miss
            for name, item in value.items()
            for miss in misfits(schema["properties"][name], item, f"{at}.{name}")
        ]
    return []


async def test_a_retry_that_a_slow_disk_holds_up_writes_nothing_into_the_folder_of_the_next_job(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may give the id of a job that is forgotten to another one."""
    job_id = await finished(world, FILES)
    works, is_there, goes_on = world.folders.keep_upload_target, asyncio.Event(), asyncio.Event()

    async def keep_slowly(job: str, upload: Upload) -> None:
        is_there.set()
        await goes_on.wait()
        await works(job, upload)

    monkeypatch.setattr(world.folders, "keep_upload_target", keep_slowly)  # the disk
    retrying = asyncio.ensure_future(
        retry(world, job_id, {"upload": {**PUT, "url": "https://old.example.org/{path}"}})
    )
    await is_there.wait()

    async def replace_it() -> None:
        while (
            await world.call("DELETE", f"/v1/jobs/{job_id}")
        ).status == 409:  # what is sent again is stopped first
            await world.call("POST", f"/v1/jobs/{job_id}/cancel")
        body = {**BODY, "outputs": {"upload": {**PUT, "url": "https://new.example.org/{path}"}}}
        assert (await world.call("PUT", f"/v1/jobs/{job_id}", body)).status == 201

    replacing = asyncio.ensure_future(replace_it())
    await asyncio.sleep(0.1)
    goes_on.set()
    await asyncio.gather(retrying, replacing)
    target = await world.folders.upload_target(job_id)
    assert target is not None
    assert str(target.url).startswith("https://new.example.org/")
