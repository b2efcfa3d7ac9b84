"""Schedules over HTTP: made, listed, read, removed, run, paused, resumed; who may; what a hostile body gets; what a deploy brings."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.aio import beside
from agent.api.schemas import component_schemas
from agent.api.tokens import Scope
from tests.fakes.tars import MAIN, tar_of
from tests.shell.api_world import ApiWorld, Reply, api_world, running, until
from tests.shell.described import Report, answer_describes
from tests.shell.test_api_chutes import send
from tests.unit.chute_values import a_job, a_manifest

SPEC = {
    "image": "busybox",
    "secrets": {"TOKEN": "tell-nobody"},
    "registry": {"username": "u", "password": "tell-nobody"},
}
BODY = {"name": "nightly", "cron": "0 3 * * *", "spec": SPEC}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        made.clock.started -= made.clock.boot_seconds()  # 8:00:00 of 2027-01-15
        yield made


async def add(world: ApiWorld, **changes: object) -> Any:  # noqa: ANN401 - JSON is any
    reply = await world.call("POST", "/v1/schedules", {**BODY, **changes})
    assert reply.status == 201, reply.raw
    return reply.json


def faults_of(reply: Reply) -> dict[str, str]:
    return {fault["field"]: fault["code"] for fault in reply.json["faults"]}


async def test_a_schedule_has_every_name_of_the_contract_and_the_schema(world: ApiWorld) -> None:
    made = await add(world)
    assert component_schemas()["Schedule"]["required"] == list(made)
    facts = {
        name: made[name]
        for name in ("name", "owner", "kind", "chute", "cron", "catch_up", "paused", "last", "trouble")
    }
    assert facts == {
        "name": "nightly",
        "owner": "alice",
        "kind": "container",
        "chute": None,
        "cron": "0 3 * * *",
        "catch_up": False,
        "paused": False,
        "last": None,
        "trouble": None,
    }
    assert made["next"] == [f"2027-01-{day}T03:00:00.000Z" for day in range(16, 21)]
    assert (made["fired"], made["skipped"], made["missed"]) == (0, 0, 0)
    reply = await world.call("GET", f"/v1/schedules/{made['id'].upper()}")
    assert (reply.status, reply.json) == (200, made)


async def test_no_answer_and_no_row_has_a_secret(world: ApiWorld) -> None:
    made = await add(world)
    assert made["spec"]["secrets"] == {"TOKEN": "***"}
    listed = await world.call("GET", "/v1/schedules")
    assert b"tell-nobody" not in listed.raw
    assert "tell-nobody" not in repr(world.store._schedules)
    kept = world.state / "schedules" / made["id"]
    assert b"tell-nobody" in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (await world.call("DELETE", f"/v1/schedules/{made['id']}")).status == 204
    assert not kept.exists()


async def test_every_fault_comes_at_once(world: ApiWorld) -> None:
    body = {"name": "-", "cron": "0 0 31 2 *", "catch_up": 1, "catchup": 1, "spec": {"image": "", "cpus": -1}}
    reply = await world.call("POST", "/v1/schedules", body)
    assert (reply.status, reply.json["code"]) == (422, "schedule_refused")
    assert faults_of(reply).keys() == {"name", "cron", "catch_up", "catchup", "spec.image", "spec.cpus"}
    assert (await world.call("GET", "/v1/schedules")).json["items"] == []


@pytest.mark.parametrize(
    "body",
    [None, [], "x", 5, {}, {"name": None, "cron": None, "spec": None}, {"name": {}, "cron": [], "spec": []}],
)
async def test_what_is_no_schedule_is_refused(world: ApiWorld, body: object) -> None:
    reply = await world.call("POST", "/v1/schedules", data=json.dumps(body).encode())
    assert (reply.status, reply.json["code"]) == (422, "schedule_refused")


async def test_what_this_host_refuses_of_the_job_is_refused_of_its_schedule(world: ApiWorld) -> None:
    reply = await world.call("POST", "/v1/schedules", {**BODY, "spec": {"image": "busybox", "gpus": 64}})
    assert (reply.status, reply.json["code"]) == (422, "gpus_never_fit")


async def test_a_name_is_taken_once(world: ApiWorld) -> None:
    await add(world)
    reply = await world.call("POST", "/v1/schedules", BODY)
    assert (reply.status, reply.json["code"]) == (409, "schedule_name_taken")
    assert "schedule show" in reply.json["remedy"]
    assert len(list((world.state / "schedules").iterdir())) == 1
    bob = await world.new_token("bob")
    assert (await world.call("POST", "/v1/schedules", BODY, token=bob)).status == 201


async def test_lists_are_pages(world: ApiWorld) -> None:
    made = [{**await add(world, name=f"s{number}"), "spec": None} for number in range(5)]
    first = (await world.call("GET", "/v1/schedules?limit=3")).json
    rest = (await world.call("GET", f"/v1/schedules?limit=3&cursor={first['next']}")).json
    assert first["items"] + rest["items"] == made[::-1]
    assert rest["next"] is None
    assert (await world.call("GET", "/v1/schedules?name=s2")).json["items"] == [made[2]]
    assert (await world.call("GET", f"/v1/schedules?id={made[1]['id']}")).json["items"] == [made[1]]
    reply = await world.call("GET", "/v1/schedules?limit=0&cursor=x&nam=s")
    assert faults_of(reply).keys() == {"limit", "cursor", "nam"}


async def test_only_what_may_begin_an_id_is_looked_for_as_one(world: ApiWorld) -> None:
    made = {**await add(world), "spec": None}
    beginning = made["id"][:13].upper()
    assert (await world.call("GET", f"/v1/schedules?id={beginning}")).json["items"] == [made]
    for other in ("nightly", "%25", "", "0" * 37):
        assert faults_of(await world.call("GET", f"/v1/schedules?id={other}")).keys() == {"id"}, other


async def test_a_run_is_a_job_of_the_schedule(world: ApiWorld) -> None:
    made = await add(world)
    reply = await world.call("POST", f"/v1/schedules/{made['id']}/run", headers={"Idempotency-Key": "k"})
    job = reply.json
    assert (reply.status, reply.headers["Location"]) == (201, f"/v1/jobs/{job['id']}")
    assert job["schedule"] == {"id": made["id"], "due": None}
    again = await world.call("POST", f"/v1/schedules/{made['id']}/run", headers={"Idempotency-Key": "k"})
    assert (again.status, again.json["id"]) == (200, job["id"])
    listed = await world.call("GET", f"/v1/jobs?schedule={made['id']}")
    assert [item["id"] for item in listed.json["items"]] == [job["id"]]
    assert (await world.call("GET", f"/v1/jobs?schedule={job['id']}")).json["items"] == []
    shown = (await world.call("GET", f"/v1/schedules/{made['id']}")).json
    assert shown["last"] == {"due": None, "job": job["id"], "at": job["created_at"]}


async def test_a_job_of_no_schedule_says_so(world: ApiWorld) -> None:
    job_id = await world.submit()
    assert (await world.call("GET", f"/v1/jobs/{job_id}")).json["schedule"] is None


async def test_a_job_that_a_minute_started_says_which(world: ApiWorld) -> None:
    made = await add(world, cron="* * * * *")
    world.clock.started += 65
    await world.schedules.timetable.take_due()
    (job,) = (await world.call("GET", f"/v1/jobs?schedule={made['id']}")).json["items"]
    assert job["schedule"] == {"id": made["id"], "due": "2027-01-15T08:01:00.000Z"}
    shown = (await world.call("GET", f"/v1/schedules/{made['id']}")).json
    assert (shown["last"]["due"], shown["last"]["job"], shown["fired"]) == (
        "2027-01-15T08:01:00.000Z",
        job["id"],
        1,
    )


async def test_a_pause_has_no_next_minute_and_ends(world: ApiWorld) -> None:
    made = await add(world)
    paused = await world.call("POST", f"/v1/schedules/{made['id']}/pause")
    assert (paused.status, paused.json["paused"], paused.json["next"]) == (200, True, [])
    resumed = await world.call("POST", f"/v1/schedules/{made['id']}/resume")
    assert (resumed.json["paused"], resumed.json["next"]) == (False, made["next"])


async def test_what_is_anothers_does_not_exist(world: ApiWorld) -> None:
    path, bob = f"/v1/schedules/{(await add(world))['id']}", await world.new_token("bob")
    calls = [
        ("GET", path),
        ("DELETE", path),
        *(("POST", f"{path}/{act}") for act in ("run", "pause", "resume")),
    ]
    replies = [await world.call(*call, token=bob) for call in calls]
    assert {(reply.status, reply.json["code"]) for reply in replies} == {(404, "schedule_not_found")}
    assert (await world.call("GET", "/v1/schedules", token=bob)).json["items"] == []
    ran = await world.call("POST", f"{path}/run")
    assert ran.status == 201
    assert (await world.call("GET", f"/v1/jobs?schedule={path[14:]}", token=bob)).json["items"] == []
    admin = await world.new_token("root", tuple(Scope))
    assert (await world.call("GET", path, token=admin)).status == 200


async def test_who_may_only_read_changes_nothing(world: ApiWorld) -> None:
    path, reader = (
        f"/v1/schedules/{(await add(world))['id']}",
        await world.new_token("alice", (Scope.JOBS_READ,)),
    )
    assert (await world.call("GET", path, token=reader)).status == 200
    for method, where in (
        ("POST", "/v1/schedules"),
        ("DELETE", path),
        ("POST", f"{path}/run"),
        ("POST", f"{path}/pause"),
        ("POST", f"{path}/resume"),
    ):
        assert (await world.call(method, where, BODY, token=reader)).status == 403


@pytest.mark.parametrize(
    "given", ["x", "..%2f..%2fagent-id", "%00", "0190aaaa-0000-7000-8000-00000000ffff", "a" * 500]
)
async def test_an_id_that_is_none_is_not_found(world: ApiWorld, given: str) -> None:
    reply = await world.call("GET", f"/v1/schedules/{given}")
    assert (reply.status, reply.json["code"]) == (404, "schedule_not_found")


# ── of chutes ──


async def deploy(world: ApiWorld, *jobs: dict[str, object], code: bytes = MAIN, **fields: object) -> Reply:
    answer_describes(world, Report.of(a_manifest(*jobs)))
    async with running(world), beside(world.schedules.timetable.watch(), "schedules"):
        return await send(world, {"image": "busybox", **fields}, tar_of({"main.py": code}))


async def test_a_deploys_schedules_are_shown_and_go_with_it(world: ApiWorld) -> None:
    assert (await deploy(world, a_job("train", schedule="0 3 * * *"), catch_up=True)).status == 201
    (made,) = (await world.call("GET", "/v1/schedules")).json["items"]
    facts = {name: made[name] for name in ("name", "kind", "chute", "function", "catch_up", "spec")}
    assert facts == {
        "name": "trainer/train",
        "kind": "function",
        "chute": "trainer",
        "function": "train",
        "catch_up": True,
        "spec": None,
    }
    refused = await world.call("DELETE", f"/v1/schedules/{made['id']}")
    assert (refused.status, refused.json["code"]) == (409, "schedule_of_chute")
    ran = await world.call("POST", f"/v1/schedules/{made['id']}/run")
    assert (ran.status, ran.json["chute"]["function"]) == (201, "train")
    await world.finish(ran.json["id"])
    assert (await world.call("DELETE", "/v1/chutes/trainer")).status == 204
    assert (await world.call("GET", "/v1/schedules")).json["items"] == []


async def test_the_timetable_hears_of_a_deploy(world: ApiWorld) -> None:
    answer_describes(world, Report.of(a_manifest(a_job("train", schedule="@daily"))))
    async with running(world), beside(world.schedules.timetable.watch(), "schedules"):
        await send(world, {"image": "busybox"}, tar_of({"main.py": MAIN}))
        await until(lambda: world.schedules.timetable.count == 1)


async def test_catching_up_is_true_or_false(world: ApiWorld) -> None:
    reply = await send(world, {"image": "busybox", "catch_up": "yes"}, tar_of({"main.py": MAIN}))
    assert (reply.status, faults_of(reply)) == (422, {"catch_up": "wrong_type"})
