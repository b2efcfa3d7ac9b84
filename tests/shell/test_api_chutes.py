"""Chutes as the API has them: deployed by a container that is stood in for, waited for, started by name, removed."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.api.schemas import component_schemas
from agent.api.tokens import Scope
from agent.core.function import FaultKind
from agent.core.gpus import Inventory
from agent.core.job import Job, Kind
from agent.interfaces import MOST_DESCRIBING
from tests.fakes.host_keys import public_key
from tests.fakes.tars import MAIN, member, tar_of
from tests.shell.api_world import ApiWorld, Reply, api_world, running, until
from tests.shell.described import Report, answer_describes
from tests.unit.chute_values import a_job, a_manifest, a_parameter

DEPLOY = {"image": "busybox"}
CODE = tar_of({"main.py": MAIN})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made, running(made):
        yield made


async def send(
    world: ApiWorld, deploy: object = DEPLOY, code: bytes = CODE, query: str = "", token: str | None = None
) -> Reply:
    form = aiohttp.FormData()
    form.add_field("deploy", json.dumps(deploy), content_type="application/json")
    form.add_field("code", code, filename="code.tar", content_type="application/x-tar")
    return await send_form(world, form, query, token)


async def send_form(
    world: ApiWorld, form: aiohttp.FormData, query: str = "", token: str | None = None
) -> Reply:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {token or world.token}"}
    async with world.http.post(f"{world.url}/v1/chutes{query}", data=form, headers=headers) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def deploy(world: ApiWorld, *jobs: dict[str, Any], **changes: Any) -> Reply:  # noqa: ANN401 - JSON is any
    answer_describes(world, Report.of(a_manifest(*jobs, **changes.pop("manifest", {}))))
    return await send(world, **changes)


def hold(event: asyncio.Event) -> asyncio.Event:
    """Not yet: until the test says so."""
    event.clear()
    return event


def faults_of(reply: Reply) -> dict[str, str]:
    return {fault["field"]: fault["code"] for fault in reply.json["faults"]}


async def start(world: ApiWorld, name: str, body: object, **options: Any) -> Reply:  # noqa: ANN401 - JSON is any
    return await world.call("POST", f"/v1/chutes/{name}", body, **options)


# deploy


async def test_a_deploy_is_answered_with_the_chute(world: ApiWorld) -> None:
    reply = await deploy(world, a_job("train", timeout=60, parameters=[a_parameter("epochs")]))
    assert reply.status == 201
    chute = reply.json
    assert (chute["name"], chute["owner"], chute["version"]["number"]) == ("trainer", "alice", 1)
    assert [(job["name"], job["timeout"], job["signature"]) for job in chute["jobs"]] == [
        ("train", 60, "train(epochs)")
    ]
    assert set(chute) == set(component_schemas()["Chute"]["required"])  # type: ignore[call-overload] # a list
    assert (await world.call("GET", "/v1/chutes/trainer")).json == chute


async def test_a_describe_job_runs_our_launcher_without_a_network(world: ApiWorld) -> None:
    await deploy(world)
    (job,) = [job for job in world.store.jobs() if job.kind is Kind.DESCRIBE]
    assert job.spec.entrypoint == ("python3",)
    assert (job.spec.network.value, job.spec.timeout) == ("none", 60)
    assert job.call is not None
    assert (job.call.function, job.call.file) == (None, "main.py")


async def test_another_deploy_is_the_next_version_and_the_same_one_the_current(world: ApiWorld) -> None:
    first = await deploy(world)
    second = await deploy(world, code=tar_of({"main.py": MAIN, "more.py": b""}))
    again = await send(world, code=tar_of({"./more.py": b"", "./main.py": MAIN}, packed=True))
    assert (first.status, second.status, again.status) == (201, 201, 200)
    assert again.json["version"] == second.json["version"]
    assert [version["number"] for version in again.json["versions"]] == [2, 1]
    assert [version["state"] for version in again.json["versions"]] == ["active", "superseded"]


async def test_faults_of_all_functions_come_in_one_problem(world: ApiWorld) -> None:
    told = [{"field": "ports[0].port", "message": "8000 is no port", "remedy": "Use 8002."}]
    reply = await deploy(
        world,
        a_job("slow", timeout=5),
        a_job("nightly", schedule="@reboot"),
        manifest={"refused": [{"function": "multi_port_job", "kind": "job", "faults": told}]},
    )
    assert (reply.status, reply.json["code"]) == (422, "deploy_refused")
    assert faults_of(reply) == {
        "jobs.slow.timeout": "out_of_range",
        "jobs.nightly.schedule": "cron_invalid",
        "jobs.multi_port_job.ports[0].port": "function_refused",
    }
    assert (await world.call("GET", "/v1/chutes")).json == {"items": [], "next": None}


async def test_faults_of_the_request_and_of_the_archive_come_at_once(world: ApiWorld) -> None:
    reply = await send(
        world,
        {"image": "busybox", "spec": {"timeout": 60, "memory": "lots"}},
        tar_of({"main.py": MAIN, "out": member(tarfile.SYMTYPE, "/")}),
    )
    assert reply.status == 422
    assert faults_of(reply) == {
        "spec.timeout": "not_of_spec",
        "spec.memory": "unreadable",
        "code": "archive_refused",
    }
    assert list((world.state / "chutes").iterdir()) == []
    assert world.store.jobs() == []


async def test_the_image_is_said_once_and_is_looked_at(world: ApiWorld) -> None:
    reply = await send(world, {"image": "\ud800", "spec": {"image": "busybox"}})
    assert reply.status == 422
    assert faults_of(reply) == {"image": "not_unicode", "spec.image": "not_of_spec"}


async def test_an_entry_that_is_no_file_of_the_code_is_refused_with_the_nearest(world: ApiWorld) -> None:
    reply = await send(world, {**DEPLOY, "entry": "mian.py"})
    assert faults_of(reply) == {"entry": "entry_not_found"}
    assert "main.py" in reply.json["faults"][0]["message"]
    assert list((world.state / "chutes").iterdir()) == []


async def test_what_the_host_refuses_of_the_defaults_is_refused_at_the_door(world: ApiWorld) -> None:
    reply = await send(world, {**DEPLOY, "spec": {"notify": {"url": "http://10.0.0.1/", "secret": "s"}}})
    assert reply.status == 422
    assert set(faults_of(reply)) == {"spec.notify.url"}
    assert world.store.jobs() == []


@pytest.mark.parametrize(
    ("report", "field", "code"),
    [
        (Report.failed(FaultKind.IMPORT, "invalid syntax"), "code", "chute_import_failed"),
        (Report.nothing(), "code", "no_result"),
        (Report.exits(3), "code", "exit_nonzero"),
        (Report.of(None), "manifest", "manifest_invalid"),
        (Report(b"x" * 100), "manifest", "manifest_invalid"),
        (Report(b" " * (2 << 20)), "manifest", "manifest_invalid"),
    ],
    ids=["raises", "nothing", "exits", "null", "noise", "2_MB"],
)
async def test_a_describe_that_comes_to_nothing_is_refused_in_words(
    world: ApiWorld, report: Report, field: str, code: str
) -> None:
    answer_describes(world, report)
    reply = await send(world)
    assert reply.status == 422
    assert faults_of(reply) == {field: code}


async def test_a_fault_of_the_code_names_the_job_whose_log_tells_more(world: ApiWorld) -> None:
    answer_describes(world, Report.exits(3))
    reply = await send(world)
    (version,) = world.store._versions.values()
    assert f"gpu-agent logs {version.describe_job}" in reply.json["faults"][0]["remedy"]


async def test_an_image_that_is_not_to_be_had_is_a_fault_of_the_image(world: ApiWorld) -> None:
    reply = await send(world, {"image": "nowhere.example.org/none:1"})
    assert reply.status == 422
    assert set(faults_of(reply)) == {"image"}


async def test_a_refused_version_leaves_no_files_and_still_tells_why(world: ApiWorld) -> None:
    answer_describes(world, Report.nothing())
    await send(world)
    assert list((world.state / "chutes").iterdir()) == []
    (version,) = world.store._versions.values()
    told = (await world.call("GET", f"/v1/chutes/versions/{version.id}")).json
    assert (told["state"], told["chute"]) == ("refused", None)
    assert [fault["code"] for fault in told["faults"]] == ["no_result"]
    assert set(told) == set(component_schemas()["ChuteVersion"]["required"])  # type: ignore[call-overload] # a list


async def test_who_does_not_wait_is_told_where_to_ask(world: ApiWorld) -> None:
    held = hold(answer_describes(world, Report.of(a_manifest())))
    reply = await send(world, query="?wait=0")
    assert (reply.status, reply.json["state"]) == (202, "describing")
    where = reply.headers["Location"]
    assert (await world.call("GET", where)).json["state"] == "describing"
    waiting = asyncio.ensure_future(world.call("GET", f"{where}?wait=30"))
    held.set()
    assert (await waiting).json["state"] == "active"


async def test_the_same_deploy_while_it_is_described_is_that_one(world: ApiWorld) -> None:
    held = hold(answer_describes(world, Report.of(a_manifest())))
    first, again = await send(world, query="?wait=0"), await send(world, query="?wait=0")
    assert first.json == again.json
    assert len(list((world.state / "chutes").iterdir())) == 1
    held.set()


async def test_only_so_many_deploys_are_under_way(world: ApiWorld) -> None:
    held = hold(answer_describes(world, Report.of(a_manifest())))
    for number in range(MOST_DESCRIBING):
        assert (await send(world, code=tar_of({"main.py": b"%d" % number}), query="?wait=0")).status == 202
    reply = await send(world, query="?wait=0")
    assert (reply.status, reply.json["code"]) == (429, "too_many_deploys")
    assert len(list((world.state / "chutes").iterdir())) == MOST_DESCRIBING
    held.set()


async def test_secrets_of_a_deploy_are_in_no_database_and_no_answer(world: ApiWorld) -> None:
    spec = {"secrets": {"TOKEN": "hush-hush"}, "registry": {"username": "me", "password": "hush-hush"}}
    reply = await deploy(world, deploy={**DEPLOY, "spec": spec})
    assert reply.json["spec"]["secrets"] == {"TOKEN": "***"}
    assert b"hush-hush" not in reply.raw
    assert "hush-hush" not in repr(world.store._versions)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "bad_request"),
        ({"deploy": json.dumps(DEPLOY)}, 400, "bad_request"),
        ({"code": CODE}, 400, "bad_request"),
        ({"deploy": json.dumps(DEPLOY), "code": CODE, "more": "x"}, 400, "bad_request"),
        ({"deploy": "{", "code": CODE}, 400, "bad_json"),
        ({"deploy": b"x" * (2 << 20), "code": CODE}, 413, "body_too_large"),
        ({"deploy": json.dumps(DEPLOY), "code": bytes(33 << 20)}, 413, "code_too_large"),
    ],
    ids=["nothing", "no_code", "no_deploy", "more", "bad_json", "large_deploy", "large_code"],
)
async def test_a_form_that_is_none_is_refused(
    world: ApiWorld, fields: dict[str, Any], status: int, code: str
) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, io.BytesIO(value) if isinstance(value, bytes) else value)
    reply = await send_form(world, form)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert list((world.state / "chutes").iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary=x"},
    ],
)
async def test_a_body_that_is_no_form_is_refused(world: ApiWorld, headers: dict[str, str]) -> None:
    reply = await world.call("POST", "/v1/chutes", data=b"--y\r\n\r\n{}", headers=headers)
    assert (reply.status, reply.json["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "part",
    [
        b'Content-Disposition: form-data; name="_charset_"\r\n\r\n' + b"x" * 40,
        b'Content-Disposition: form-data; name="_charset_"\r\n\r\n\xff',
        b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n",
        b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"Content-Type: multipart/mixed\r\n\r\n",
        b'Content-Disposition: form-data; name="deploy"\r\nContent-Length: 99999999\r\n\r\n{}',
    ],
    ids=["charset", "charset_not_ascii", "headers", "long_header", "nested", "length"],
)
async def test_a_form_that_the_library_can_not_read_is_the_senders_fault(
    world: ApiWorld, part: bytes
) -> None:
    reply = await world.call(
        "POST",
        "/v1/chutes",
        data=b"--x\r\n" + part + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert list((world.state / "chutes").iterdir()) == []


async def test_a_part_that_is_encoded_is_refused(world: ApiWorld) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="code"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    reply = await world.call(
        "POST",
        "/v1/chutes",
        data=head + b"aGk=\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert "Content-Transfer-Encoding" in reply.json["detail"]


# start


async def test_a_function_is_started_by_name(world: ApiWorld) -> None:
    ports = [{"name": "web", "port": 8080, "proto": "http"}]
    await deploy(world, a_job("train", ports=ports, timeout=60, queue="slow"))
    reply = await start(world, "trainer/jobs/train", {"payload": {}, "spec": {"memory": "1GiB"}})
    assert reply.status == 201
    job = await read(world, reply)
    assert (job.kind, job.spec.queue, job.spec.memory, job.spec.timeout) == (
        Kind.FUNCTION,
        "slow",
        1 << 30,
        60,
    )
    assert job.call is not None
    assert (job.call.chute, job.call.function, job.call.parent) == ("trainer", "train", None)
    assert await world.folders.payload(job.id) == b"{}"


async def read(world: ApiWorld, reply: Reply) -> Job:
    job = await world.store.read(reply.json["id"])
    assert job is not None
    return job


async def test_who_needs_no_gpu_waits_for_no_driver(world: ApiWorld) -> None:
    await deploy(world)

    async def never() -> Inventory:
        raise TimeoutError

    world.intake.usable_gpus = never
    assert (await start(world, "trainer/jobs/train", {})).status == 201


async def test_a_start_without_anything_has_an_empty_payload(world: ApiWorld) -> None:
    await deploy(world)
    reply = await start(world, "trainer/jobs/train", {})
    assert await world.folders.payload(reply.json["id"]) == b"{}"


async def test_secrets_of_the_deploy_are_the_jobs(world: ApiWorld) -> None:
    await deploy(world, deploy={**DEPLOY, "spec": {"secrets": {"TOKEN": "hush"}}})
    reply = await start(world, "trainer/jobs/train", {})
    assert reply.json["spec"]["secrets"] == {"TOKEN": "***"}
    assert (await world.folders.secrets(reply.json["id"])).values == {"TOKEN": "hush"}


async def test_ssh_begins_without_a_key_and_takes_one_later(world: ApiWorld) -> None:
    await deploy(world, a_job("debug", ssh=True))
    reply = await start(world, "trainer/jobs/debug", {})
    assert reply.status == 201
    assert reply.json["ssh"]["fingerprint"]
    added = await world.call(
        "POST",
        f"/v1/jobs/{reply.json['id']}/ssh-keys",
        {"key": public_key(1).line, "expires_in": 60},
    )
    assert (added.status, len(added.json["keys"])) == (200, 1)


async def test_a_key_and_a_body_make_one_job(world: ApiWorld) -> None:
    await deploy(world)
    headers = {"Idempotency-Key": "once"}
    first = await start(world, "trainer/jobs/train", {"payload": {}}, headers=headers)
    again = await start(world, "trainer/jobs/train", {"payload": {}}, headers=headers)
    other = await start(world, "trainer/jobs/train", {"payload": None}, headers=headers)
    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert first.json["id"] == again.json["id"]


async def test_a_key_holds_across_a_new_version(world: ApiWorld) -> None:
    await deploy(world)
    headers = {"Idempotency-Key": "once"}
    first = await start(world, "trainer/jobs/train", {}, headers=headers)
    await deploy(world, code=tar_of({"main.py": b"2"}))
    again = await start(world, "trainer/jobs/train", {}, headers=headers)
    assert (again.status, again.json["id"]) == (200, first.json["id"])


async def test_a_key_that_was_used_gets_its_first_answer_where_the_function_has_changed(
    world: ApiWorld,
) -> None:
    await deploy(world)
    headers = {"Idempotency-Key": "once"}
    first = await start(world, "trainer/jobs/train", {}, headers=headers)
    await deploy(world, a_job("train", parameters=[a_parameter("epochs")]), code=tar_of({"main.py": b"2"}))
    again = await start(world, "trainer/jobs/train", {}, headers=headers)
    assert (again.status, again.json["id"]) == (200, first.json["id"])
    await deploy(world, a_job("other"), code=tar_of({"main.py": b"3"}))
    again = await start(world, "trainer/jobs/train", {}, headers=headers)
    assert (again.status, again.json["id"]) == (200, first.json["id"])


async def test_a_key_that_was_used_gets_its_first_answer_where_the_chute_is_gone(world: ApiWorld) -> None:
    await deploy(world)
    headers = {"Idempotency-Key": "once"}
    first = await start(world, "trainer/jobs/train", {}, headers=headers)
    await world.call("POST", f"/v1/jobs/{first.json['id']}/cancel?grace=0")
    await world.call("GET", f"/v1/jobs/{first.json['id']}?wait=finished&timeout=20")
    assert (await world.call("DELETE", "/v1/chutes/trainer")).status == 204
    again = await start(world, "trainer/jobs/train", {}, headers=headers)
    assert (again.status, again.json["id"]) == (200, first.json["id"])
    other = await start(world, "trainer/jobs/train", {"payload": None}, headers=headers)
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")
    for unused in ({}, {"Idempotency-Key": "another"}):
        reply = await start(world, "trainer/jobs/train", {}, headers=unused)
        assert (reply.status, reply.json["code"]) == (404, "chute_not_found")
    theirs = await world.new_token("mallory")
    reply = await start(world, "trainer/jobs/train", {}, headers=headers, token=theirs)
    assert (reply.status, reply.json["code"]) == (404, "chute_not_found")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ([], {"body"}),
        ({"paylaod": {}}, {"paylaod"}),
        ({"spec": []}, {"spec"}),
        ({"spec": {"timeout": 60, "ports": []}}, {"spec.timeout", "spec.ports"}),
        ({"spec": {"memory": "lots"}}, {"spec.memory"}),
        ({"payload": {"epochs": 1, "more": 2}}, {"payload"}),
        ({"payload": {}}, {"payload"}),
    ],
)
async def test_a_start_that_can_not_be_is_refused_at_the_door(
    world: ApiWorld, body: object, fields: set[str]
) -> None:
    await deploy(world, a_job("train", parameters=[a_parameter("epochs"), a_parameter("rate")]))
    if isinstance(body, dict) and "payload" not in body:
        body = {**body, "payload": {"epochs": 1, "rate": 2}}
    reply = await start(world, "trainer/jobs/train", body)
    assert reply.status == 422
    assert set(faults_of(reply)) == fields
    assert [job for job in world.store.jobs() if job.kind is Kind.FUNCTION] == []


async def test_names_that_are_not_there_are_told_with_the_nearest(world: ApiWorld) -> None:
    await deploy(world)
    for path, near in (("trianer/jobs/train", "trainer"), ("trainer/jobs/trian", "train")):
        reply = await start(world, path, {})
        assert (reply.status, reply.json["code"]) == (404, "chute_not_found")
        assert f"did you mean {near}?" in reply.json["detail"]


# whose, and removal


async def test_anothers_chute_does_not_exist(world: ApiWorld) -> None:
    await deploy(world)
    bob = await world.new_token("bob")
    root = await world.new_token("root", (Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.JOBS_ALL))
    version = next(iter(world.store._versions))
    for method, path in (
        ("GET", "/v1/chutes/trainer"),
        ("DELETE", "/v1/chutes/trainer"),
        ("GET", f"/v1/chutes/versions/{version}"),
        ("POST", "/v1/chutes/trainer/jobs/train"),
    ):
        reply = await world.call(method, path, {} if method == "POST" else None, token=bob)
        assert (reply.status, reply.json["code"]) == (404, "chute_not_found"), path
    assert (await world.call("GET", "/v1/chutes", token=bob)).json["items"] == []
    assert len((await world.call("GET", "/v1/chutes", token=root)).json["items"]) == 1
    assert (await world.call("POST", "/v1/chutes/trainer/jobs/train", {}, token=root)).status == 404


async def test_scopes_are_those_of_jobs(world: ApiWorld) -> None:
    await deploy(world)
    reader = await world.new_token("alice", (Scope.JOBS_READ,))
    writer = await world.new_token("alice", (Scope.JOBS_WRITE,))
    assert (await world.call("GET", "/v1/chutes/trainer", token=reader)).status == 200
    assert (await world.call("GET", "/v1/chutes/trainer", token=writer)).status == 403
    assert (await send(world, token=reader)).status == 403
    assert (await world.call("DELETE", "/v1/chutes/trainer", token=reader)).status == 403
    assert (await world.call("POST", "/v1/chutes/trainer/jobs/train", {}, token=reader)).status == 403


async def test_a_chute_is_removed_with_its_files(world: ApiWorld) -> None:
    await deploy(world)
    await deploy(world, code=tar_of({"main.py": b"2"}))
    assert (await world.call("DELETE", "/v1/chutes/trainer")).status == 204
    assert list((world.state / "chutes").iterdir()) == []
    assert (await world.call("DELETE", "/v1/chutes/trainer")).status == 404


async def test_a_chute_is_not_removed_under_its_jobs(world: ApiWorld) -> None:
    await deploy(world)
    job_id = (
        await start(world, "trainer/jobs/train", {"spec": {"not_before": "2999-01-01T00:00:00Z"}})
    ).json["id"]
    reply = await world.call("DELETE", "/v1/chutes/trainer")
    assert (reply.status, reply.json["code"]) == (409, "chute_in_use")
    await world.call("POST", f"/v1/jobs/{job_id}/cancel?grace=0")
    world.shell.wake(job_id)
    await until(lambda: str(getattr(world.store.peek(job_id), "phase", None)) == "finished")
    assert (await world.call("DELETE", "/v1/chutes/trainer")).status == 204


async def test_a_chute_is_not_removed_while_one_of_its_jobs_is_being_started(world: ApiWorld) -> None:
    await deploy(world)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait_at(step: str) -> None:
        if step == "accept":
            reached.set()
            await go_on.wait()

    world.store.before = wait_at
    starting = asyncio.ensure_future(start(world, "trainer/jobs/train", {}))
    await reached.wait()
    reply = await world.call("DELETE", "/v1/chutes/trainer")
    go_on.set()
    assert (reply.status, reply.json["code"]) == (409, "chute_in_use")
    assert (await starting).status == 201
