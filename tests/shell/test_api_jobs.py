"""The jobs of the API, as a client sees them."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.api.schemas import component_schemas
from agent.core.gpus import Gpu
from agent.core.policy import ImageRules, Limits
from agent.errors import AgentError
from agent.interfaces import Claimed, SecretFiles, StateFullError, StateReadOnlyError, StoreUnavailableError
from tests.fakes.folders import FakeFolders
from tests.shell.api_world import BODY, ApiWorld, api_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


def folders_of(world: ApiWorld) -> list[str]:
    return sorted(path.name for path in (world.state / "jobs").iterdir())


async def test_a_submitted_job_is_on_disk_and_the_supervisor_is_woken(world: ApiWorld) -> None:
    reply = await world.call("POST", "/v1/jobs", BODY)
    assert reply.status == 201
    job = reply.json
    assert reply.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["phase"], job["owner"], job["outcome"]) == ("queued", "alice", None)
    assert await world.store.read(job["id"]) is not None
    assert folders_of(world) == [job["id"]]
    assert world.woken == [job["id"]]


async def test_a_job_has_every_name_of_the_contract_and_the_schema(world: ApiWorld) -> None:
    job = (await world.call("GET", f"/v1/jobs/{await world.submit()}")).json
    contract = (
        "id name kind owner phase outcome reason attempt attempts exit gpu_usage waiting_for waiting_words gpus ports ssh progress statuses result"
        " result_bytes result_note error metrics upload notify parent children chute schedule queue priority labels image_digest created_at started_at finished_at spec"
    )
    assert list(job) == contract.split()
    assert component_schemas()["Job"]["required"] == list(job)
    assert job["created_at"].endswith("Z")


async def test_a_secret_is_in_its_folder_and_in_no_answer_row_or_record(world: ApiWorld) -> None:
    job_id = await world.submit(
        secrets={"KEY": "s3cr3t-value"}, registry={"username": "u", "password": "pa55word"}
    )
    shown = await world.call("GET", f"/v1/jobs/{job_id}")
    assert shown.json["spec"]["secrets"] == {"KEY": "***"}
    record = (world.state / "jobs" / job_id / "spec.json").read_text()
    row = repr(await world.store.read(job_id))
    for text in (shown.raw.decode(), record, row):
        assert "s3cr3t-value" not in text
        assert "pa55word" not in text
    assert (await world.folders.secrets(job_id)).values == {"KEY": "s3cr3t-value"}


async def test_every_fault_of_a_spec_is_answered_at_once(world: ApiWorld) -> None:
    reply = await world.call(
        "POST", "/v1/jobs", {"imag": "x", "timeout": 1, "ports": [{"name": "A", "port": 80, "proto": "tcp"}]}
    )
    assert reply.status == 422
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    problem = reply.json
    assert problem["code"] == "spec_refused"
    assert {"image", "imag", "timeout", "ports.0.name", "ports.0.port"} <= {
        fault["field"] for fault in problem["faults"]
    }
    assert list(problem) == [
        "type",
        "title",
        "status",
        "detail",
        "code",
        "blame",
        "phase",
        "remedy",
        "faults",
    ]
    assert folders_of(world) == []


async def test_more_than_the_host_gives_is_refused_with_each_field(tmp_path: Path) -> None:
    limits = Limits(
        cpus=2, memory_bytes=1 << 30, shm_bytes=1 << 20, pids=100, disk_bytes=1 << 30, job_ports=1
    )
    async with api_world(tmp_path, limits=limits, images=ImageRules(deny=("*busybox*",)), dns=()) as world:
        ports = [{"name": f"p{n}", "port": 8002 + n, "proto": "tcp"} for n in range(2)]
        asked = {
            **BODY,
            "cpus": 3,
            "memory": "2GiB",
            "shm": "2MiB",
            "disk": "2GiB",
            "pids": 101,
            "ports": ports,
        }
        faults = (await world.call("POST", "/v1/jobs", asked)).json["faults"]
        assert {(fault["field"], fault["code"]) for fault in faults} == {
            ("cpus", "over_host_limit"),
            ("memory", "over_host_limit"),
            ("shm", "over_host_limit"),
            ("disk", "over_host_limit"),
            ("pids", "over_host_limit"),
            ("ports", "over_host_limit"),
            ("image", "image_not_allowed"),
            ("network", "no_dns"),
        }
        exact = {
            "image": "alpine",
            "cpus": 2,
            "memory": "1GiB",
            "shm": "1MiB",
            "disk": "1GiB",
            "pids": 100,
            "network": "none",
        }
        assert (await world.call("POST", "/v1/jobs", exact)).status == 201


async def test_gpus_that_this_host_has_not_are_refused(world: ApiWorld) -> None:
    reply = await world.call("POST", "/v1/jobs", {**BODY, "gpus": 1})
    assert (reply.status, reply.json["code"]) == (422, "gpus_never_fit")
    world.gpus.gpus = (Gpu("GPU-1", "L4", 1 << 34),)
    assert (await world.call("POST", "/v1/jobs", {**BODY, "gpus": 1})).status == 201
    assert (await world.call("POST", "/v1/jobs", {**BODY, "gpus": 2})).status == 422


async def test_the_same_key_and_body_replay_and_another_body_conflicts(world: ApiWorld) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await world.call("POST", "/v1/jobs", BODY, headers=key)
    again = await world.call("POST", "/v1/jobs", dict(reversed(BODY.items())), headers=key)
    other = await world.call("POST", "/v1/jobs", {**BODY, "name": "x", "secrets": {"A": "b"}}, headers=key)
    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert again.json["id"] == first.json["id"]
    assert other.json["code"] == "idempotency_conflict"
    assert folders_of(world) == [first.json["id"]]


async def test_a_put_replays_normalises_and_never_touches_the_first_jobs_secrets(world: ApiWorld) -> None:
    wanted = "AAAAAAAA-0000-1000-8000-00000000000F"
    body = {**BODY, "secrets": {"A": "first"}}
    first = await world.call("PUT", f"/v1/jobs/{wanted}", body)
    again = await world.call("PUT", f"/v1/jobs/{wanted.lower()}", body)
    other = await world.call("PUT", f"/v1/jobs/{wanted}", {**BODY, "secrets": {"A": "second"}})
    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert first.json["id"] == wanted.lower()
    assert (await world.folders.secrets(wanted.lower())).values == {"A": "first"}


async def test_two_puts_of_one_id_at_once_leave_the_secrets_of_the_one_that_got_in(world: ApiWorld) -> None:
    wanted = "aaaaaaaa-0000-1000-8000-00000000000f"
    bodies = [{**BODY, "secrets": {"A": f"value-{number}"}} for number in range(8)]
    accepts = 0

    async def hold_the_first(step: str) -> None:
        nonlocal accepts
        accepts += step == "accept"
        if step == "accept" and accepts == 1:
            await asyncio.sleep(0.1)  # the others would overtake it here

    world.store.before = hold_the_first
    replies = await asyncio.gather(*(world.call("PUT", f"/v1/jobs/{wanted}", body) for body in bodies))
    statuses = [reply.status for reply in replies]
    assert sorted(statuses) == [201, *[409] * 7]
    winner = bodies[statuses.index(201)]
    assert (await world.folders.secrets(wanted)).values == winner["secrets"]


@pytest.mark.parametrize(
    "bad",
    [
        "x",
        "1",
        "urn:uuid:aaaaaaaa-0000-1000-8000-00000000000f",
        "aaaaaaaa00001000800000000000000f",
        "..%2f..%2fetc",
    ],
)
async def test_an_id_that_is_no_uuid_is_refused(world: ApiWorld, bad: str) -> None:
    reply = await world.call("PUT", f"/v1/jobs/{bad}", BODY)
    assert (reply.status, reply.json["code"]) == (422, "bad_job_id")


async def test_a_folder_without_a_row_is_replaced_by_the_next_submit_of_that_id(world: ApiWorld) -> None:
    wanted = "aaaaaaaa-0000-1000-8000-00000000000f"

    async def fail(step: str) -> None:
        if step in {"accept", "read"}:
            raise StoreUnavailableError("locked")

    healthy, world.store.before = world.store.before, fail
    down = await world.call("PUT", f"/v1/jobs/{wanted}", {**BODY, "secrets": {"A": "lost"}})
    world.store.before = healthy
    assert (down.status, down.json["code"], down.headers["Retry-After"]) == (503, "store_unavailable", "5")
    assert (await world.call("PUT", f"/v1/jobs/{wanted}", {**BODY, "secrets": {"A": "kept"}})).status == 201
    assert (await world.folders.secrets(wanted)).values == {"A": "kept"}


async def test_a_store_that_is_down_leaves_no_folder(world: ApiWorld) -> None:
    async def fail(step: str) -> None:
        if step == "accept":
            raise StoreUnavailableError("disk full")

    world.store.before = fail
    assert (await world.call("POST", "/v1/jobs", BODY)).status == 503
    assert folders_of(world) == []


async def test_an_accept_whose_answer_was_lost_keeps_the_rows_folder(world: ApiWorld) -> None:
    async def lose(step: str) -> None:
        if step == "accept":
            raise StoreUnavailableError("no answer")

    world.store.after = lose
    assert (await world.call("POST", "/v1/jobs", {**BODY, "secrets": {"A": "b"}})).status == 503
    (job,) = await world.store.unfinished()
    assert (await world.folders.secrets(job.id)).values == {"A": "b"}


class FoldersWithoutADisk(FakeFolders):
    def __init__(self, error: AgentError) -> None:
        super().__init__()
        self._error = error

    async def claim(
        self, job_id: str, record: str, secrets: SecretFiles, payload: bytes | None = None
    ) -> Claimed:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StateFullError("no space left"), "state_full"),
        (StateReadOnlyError("the file system is read-only"), "state_read_only"),
    ],
    ids=["full", "read-only"],
)
async def test_a_state_folder_that_takes_no_more_is_a_503_and_leaves_nothing(
    world: ApiWorld, error: AgentError, code: str
) -> None:
    world.intake.folders = FoldersWithoutADisk(error)
    reply = await world.call("POST", "/v1/jobs", BODY)
    assert (reply.status, reply.json["code"], reply.json["blame"]) == (503, code, "host")
    assert int(reply.headers["Retry-After"]) > 0
    assert await world.store.unfinished() == []


async def test_a_full_queue_is_a_429_and_leaves_no_folder(tmp_path: Path) -> None:
    async with api_world(tmp_path, limits=Limits(queued_jobs=1)) as world:
        first = await world.submit()
        reply = await world.call("POST", "/v1/jobs", BODY)
        assert (reply.status, reply.json["code"]) == (429, "queue_full")
        assert folders_of(world) == [first]


async def test_pages_are_newest_first_and_complete(world: ApiWorld) -> None:
    made = [await world.submit(name=f"n{number}") for number in range(5)]
    seen, cursor = [], ""
    while True:
        page = (await world.call("GET", f"/v1/jobs?limit=2{cursor}")).json
        seen += [job["id"] for job in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == made[::-1]


async def test_lists_are_filtered(world: ApiWorld) -> None:
    wanted = await world.submit(labels={"a": "1", "b": "2"}, queue="night")
    other = await world.submit(labels={"a": "1"})
    await world.finish(other)

    async def ids(query: str) -> list[str]:
        return [job["id"] for job in (await world.call("GET", f"/v1/jobs?{query}")).json["items"]]

    assert await ids("label=a=1&label=b=2") == [wanted]
    assert await ids("queue=night") == [wanted]
    assert await ids("phase=finished,running") == [other]
    assert await ids(f"id={wanted[:-1].upper()}") == sorted([wanted, other], reverse=True)
    assert await ids(f"id={wanted}") == [wanted]
    assert await ids("kind=container&label=a=2") == []


async def test_every_bad_parameter_is_named_at_once(world: ApiWorld) -> None:
    reply = await world.call("GET", "/v1/jobs?phase=walking&limit=0&cursor=zzz&label=x&id=%25&limt=3")
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert {fault["field"] for fault in reply.json["faults"]} == {
        "phase",
        "limit",
        "cursor",
        "label",
        "id",
        "limt",
    }
    assert "did you mean limit?" in reply.raw.decode()


async def test_more_labels_than_a_job_can_have_are_refused(world: ApiWorld) -> None:
    """So many that the database would refuse the question are still an URL."""

    async def ask(count: int, how: str) -> int:
        query = "&".join(how.format(number) for number in range(count))
        return (await world.call("GET", f"/v1/jobs?{query}")).status

    assert await ask(64, "label=a{}=1") == 200
    assert await ask(65, "label=a{}=1") == 400
    assert await ask(800, "label=a=1") == 200  # it is one


async def test_of_very_many_unknown_parameters_the_first_are_told(world: ApiWorld) -> None:
    unknown = "&".join(f"name{number}=1" for number in range(500))
    reply = await world.call("GET", f"/v1/jobs?{unknown}")
    assert (reply.status, reply.json["code"]) == (400, "bad_request")
    assert [fault["field"] for fault in reply.json["faults"]] == [f"name{number}" for number in range(16)]


async def test_a_cancel_leaves_a_durable_request_with_its_own_grace(world: ApiWorld) -> None:
    job_id = await world.submit()
    reply = await world.call("POST", f"/v1/jobs/{job_id}/cancel?grace=7")
    assert reply.status == 202
    job = await world.store.read(job_id)
    assert job is not None
    assert job.job_stop is not None
    assert job.kill_at is not None
    assert 6 < job.kill_at.seconds - world.clock.boot_seconds() <= 7
    sooner = await world.call("POST", f"/v1/jobs/{job_id}/cancel", {"grace": 0})
    assert sooner.status == 202
    assert world.woken == [job_id] * 3


async def test_a_finished_job_cannot_be_cancelled_and_an_unfinished_one_not_forgotten(
    world: ApiWorld,
) -> None:
    job_id = await world.submit()
    refused = await world.call("DELETE", f"/v1/jobs/{job_id}")
    assert (refused.status, refused.json["code"]) == (409, "job_not_finished")
    await world.finish(job_id)
    late = await world.call("POST", f"/v1/jobs/{job_id}/cancel")
    assert (late.status, late.json["code"]) == (409, "job_finished")
    assert (await world.call("DELETE", f"/v1/jobs/{job_id}")).status == 204
    assert (await world.call("GET", f"/v1/jobs/{job_id}")).status == 404
    assert folders_of(world) == []


@pytest.mark.parametrize(
    "body", [[1], {"grace": -1}, {"grace": "5"}, {"grace": True}, {"gras": 1}, {"grace": 601}]
)
async def test_a_bad_cancel_is_refused(world: ApiWorld, body: object) -> None:
    reply = await world.call("POST", f"/v1/jobs/{await world.submit()}/cancel", body)
    assert (reply.status, reply.json["code"]) == (400, "bad_request")


async def test_a_wait_is_answered_when_the_job_finishes(world: ApiWorld) -> None:
    job_id = await world.submit()
    waiting = asyncio.ensure_future(world.call("GET", f"/v1/jobs/{job_id}?wait=finished&timeout=60"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await world.finish(job_id)
    assert (await asyncio.wait_for(waiting, 2)).json["phase"] == "finished"


async def test_a_wait_that_runs_out_says_what_is_so(world: ApiWorld) -> None:
    job_id = await world.submit()
    reply = await world.call("GET", f"/v1/jobs/{job_id}?wait=finished&timeout=0")
    assert (reply.status, reply.json["phase"]) == (200, "queued")


@pytest.mark.parametrize(
    "path", ["/v1/jobs/nonsense", "/v1/jobs/aaaaaaaa-0000-1000-8000-00000000000f", "/v1/nothing", "/nothing"]
)
async def test_what_is_not_there_is_a_404_problem(world: ApiWorld, path: str) -> None:
    reply = await world.call("GET", path)
    assert reply.status == 404
    assert reply.json["code"] in {"job_not_found", "no_such_path"}


async def test_a_wrong_method_is_a_405_problem_that_names_the_right_ones(world: ApiWorld) -> None:
    reply = await world.call("PATCH", "/v1/jobs")
    assert (reply.status, reply.json["code"]) == (405, "method_not_allowed")
    assert "POST" in reply.headers["Allow"]
    assert reply.json["detail"] == "/v1/jobs does not take PATCH"


async def test_a_path_that_is_not_there_is_named(world: ApiWorld) -> None:
    assert (await world.call("GET", "/v1/job")).json["detail"] == "there is no path /v1/job"


async def test_a_defect_of_ours_is_a_500_problem_and_tells_nothing(world: ApiWorld) -> None:
    async def crash(step: str) -> None:
        if step == "page":
            raise ZeroDivisionError("internals")

    world.store.before = crash
    reply = await world.call("GET", "/v1/jobs")
    assert (reply.status, reply.json["code"]) == (500, "internal_error")
    assert "internals" not in reply.raw.decode()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"{", "line 1"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\x00"}', "NUL"),
        (b"\x00", "NUL"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"[" * 200 + b"]" * 200, "deep"),
        (b"[" * 500_000, "deep"),
        (b'{"a":' * 100_000, "deep"),
        (b"{} x", "Extra data"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
async def test_a_body_that_is_no_json_is_refused_clearly(world: ApiWorld, data: bytes, told: str) -> None:
    reply = await world.call("POST", "/v1/jobs", data=data)
    assert (reply.status, reply.json["code"]) == (400, "bad_json")
    assert told in reply.json["detail"]


async def test_brackets_in_a_text_are_not_depth(world: ApiWorld) -> None:
    assert (await world.call("POST", "/v1/jobs", {**BODY, "env": {"A": '\\"[{' * 300}})).status == 201


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "x",
        [],
        [[]],
        True,
        {"image": None},
        {"image": "\ud800"},
        {"image": 10**300},
        {"image": "a\0b"},
    ],
)
async def test_json_that_is_no_spec_is_a_422(world: ApiWorld, value: object) -> None:
    reply = await world.call("POST", "/v1/jobs", data=json.dumps(value).encode())
    assert (reply.status, reply.json["code"]) == (422, "spec_refused")


async def test_a_body_over_a_mebibyte_is_a_413(world: ApiWorld) -> None:
    big = b'"' + b"x" * (2 << 20) + b'"'

    async def drip() -> AsyncIterator[bytes]:
        for at in range(0, len(big), 1 << 16):
            yield big[at : at + (1 << 16)]

    told = await world.call("POST", "/v1/jobs", data=io.BytesIO(big))
    assert (told.status, told.json["code"]) == (413, "body_too_large")
    untold = await world.call("POST", "/v1/jobs", data=drip())
    assert (untold.status, untold.json["code"]) == (413, "body_too_large")


async def test_a_compressed_body_is_refused(world: ApiWorld) -> None:
    reply = await world.call("POST", "/v1/jobs", data=b"x", headers={"Content-Encoding": "gzip"})
    assert (reply.status, reply.json["code"]) == (415, "content_encoding_refused")


@pytest.mark.parametrize("key", ["a b", "ü".encode().decode("latin-1"), "x" * 256])
async def test_a_bad_idempotency_key_is_refused(world: ApiWorld, key: str) -> None:
    reply = await world.call("POST", "/v1/jobs", BODY, headers={"Idempotency-Key": key})
    assert (reply.status, reply.json["faults"][0]["field"]) == (400, "Idempotency-Key")


async def test_a_page_of_jobs_takes_one_read_of_attempts(world: ApiWorld) -> None:
    for _ in range(5):
        await world.submit()
    steps: list[str] = []

    async def note(step: str) -> None:
        steps.append(step)

    world.store.before = note
    assert len((await world.call("GET", "/v1/jobs")).json["items"]) == 5
    assert [step for step in steps if "attempts" in step] == ["attempts_of"]
