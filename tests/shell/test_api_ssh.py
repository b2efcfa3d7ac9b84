"""SSH as the API shows it and is asked about it: the ssh line of a job, and its keys said anew."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.api.schemas import component_schemas
from agent.api.tokens import Scope
from agent.spec.limits import MAX_SSH_KEYS
from tests.fakes.host_keys import host_key, public_key
from tests.fakes.ssh_server import FakeSshServers
from tests.shell.api_world import ApiWorld, api_world, running

KEYS = [f"{public_key(number + 1000).line} key{number}" for number in range(1, MAX_SSH_KEYS + 3)]
SSH = {"authorized_keys": KEYS[:1]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        made.engine.add_image("busybox")
        FakeSshServers(made.engine)
        async with running(made):
            yield made


async def ssh_of(world: ApiWorld, job_id: str) -> Any:  # noqa: ANN401 - JSON is any
    return (await world.call("GET", f"/v1/jobs/{job_id}")).json["ssh"]


async def ready(world: ApiWorld, **fields: object) -> str:
    job_id = await world.submit(ssh=SSH, **fields)
    world.shell.wake(job_id)
    async with asyncio.timeout(5):
        while (await ssh_of(world, job_id))["state"] != "ready":
            await asyncio.sleep(0.01)
    return job_id


def in_file(world: ApiWorld, job_id: str) -> list[str]:
    text = (world.state / "jobs" / job_id / "ssh" / "authorized_keys").read_text()
    return [line.split(" ssh-ed25519 ")[1].split()[1] for line in text.splitlines()]


def comments(reply: Any) -> list[str]:  # noqa: ANN401 - JSON is any
    return [key["comment"] for key in reply["keys"]]


async def test_the_answer_to_a_submit_has_the_fingerprint_already(world: ApiWorld) -> None:
    reply = await world.call("POST", "/v1/jobs", {"image": "busybox", "ssh": SSH})
    ssh = reply.json["ssh"]
    assert (ssh["state"], ssh["command"], ssh["known_hosts"]) == ("starting", None, None)
    assert ssh["fingerprint"] == host_key(1).public.fingerprint
    assert reply.json["spec"]["ssh"] == SSH
    key = world.state / "jobs" / reply.json["id"] / "ssh" / "host_key"
    assert key.read_bytes() == host_key(1).private
    assert host_key(1).private not in reply.raw


async def test_a_replay_shows_the_same_host_key(world: ApiWorld) -> None:
    body = {"image": "busybox", "ssh": SSH}
    first = await world.call("POST", "/v1/jobs", body, headers={"Idempotency-Key": "one"})
    again = await world.call("POST", "/v1/jobs", body, headers={"Idempotency-Key": "one"})
    assert (first.status, again.status) == (201, 200)
    assert again.json["ssh"]["fingerprint"] == first.json["ssh"]["fingerprint"]


async def test_a_running_job_has_a_line_to_log_in_with(world: ApiWorld) -> None:
    job_id = await ready(world)
    ssh = await ssh_of(world, job_id)
    port = (await world.call("GET", f"/v1/jobs/{job_id}")).json["ports"][0]
    assert (port["name"], port["port"], port["proto"]) == ("ssh", 2202, "tcp")
    assert ssh["command"] == f"ssh -p {port['external_port']} root@gpu.example.org"
    public = host_key(1).public.line
    assert ssh["known_hosts"] == f"[gpu.example.org]:{port['external_port']} {public}"


async def test_a_job_without_ssh_has_none(world: ApiWorld) -> None:
    job_id = await world.submit()
    assert await ssh_of(world, job_id) is None
    reply = await world.call("PUT", f"/v1/jobs/{job_id}/ssh-keys", {"authorized_keys": KEYS[:1]})
    assert (reply.status, reply.json["code"]) == (409, "ssh_not_asked")


async def test_replaced_keys_count_when_the_answer_is_there(world: ApiWorld) -> None:
    job_id = await ready(world)
    reply = await world.call("PUT", f"/v1/jobs/{job_id}/ssh-keys", {"authorized_keys": KEYS[1:3]})
    assert reply.status == 200, reply.raw
    assert comments(reply.json) == in_file(world, job_id) == ["key2", "key3"]
    assert reply.json["ssh"]["state"] == "ready"
    schema = component_schemas()["SshAccess"]["properties"]["keys"]["items"]["properties"]
    assert set(reply.json["keys"][0]) == set(schema)


async def test_a_key_is_added_for_a_while(world: ApiWorld) -> None:
    job_id = await ready(world)
    reply = await world.call("POST", f"/v1/jobs/{job_id}/ssh-keys", {"key": KEYS[1], "expires_in": 60})
    assert reply.status == 200, reply.raw
    assert comments(reply.json) == in_file(world, job_id) == ["key1", "key2"]
    assert [key["by"] for key in reply.json["keys"]] == ["alice", "alice"]
    assert [key["expires_at"] is None for key in reply.json["keys"]] == [True, False]


async def test_a_65th_key_is_refused_and_a_known_one_is_not(world: ApiWorld) -> None:
    job_id = await ready(world)
    reply = await world.call("PUT", f"/v1/jobs/{job_id}/ssh-keys", {"authorized_keys": KEYS[:MAX_SSH_KEYS]})
    assert reply.status == 200
    more = await world.call("POST", f"/v1/jobs/{job_id}/ssh-keys", {"key": KEYS[-1], "expires_in": 60})
    assert (more.status, more.json["faults"][0]["code"]) == (422, "too_many")
    known = await world.call("POST", f"/v1/jobs/{job_id}/ssh-keys", {"key": KEYS[0], "expires_in": 60})
    assert known.status == 200
    assert len(in_file(world, job_id)) == MAX_SSH_KEYS


PUT_REFUSED = [
    ([], {("body", "wrong_type")}),
    ({}, {("authorized_keys", "missing_field")}),
    ({"authorized_keys": []}, {("authorized_keys", "empty_list")}),
    ({"authorized_keys": "x"}, {("authorized_keys", "wrong_type")}),
    ({"authorized_keys": [1]}, {("authorized_keys", "wrong_type")}),
    ({"authorized_keys": KEYS[: MAX_SSH_KEYS + 1]}, {("authorized_keys", "too_many")}),
    ({"authorized_keys": [f"no-pty {KEYS[0]}", "x"]}, {("authorized_keys.0", "ssh_key_invalid"), ("authorized_keys.1", "ssh_key_invalid")}),
    ({"authorized_keys": KEYS[:1], "more": 1}, {("more", "unknown_field")}),
]  # fmt: skip
POST_REFUSED = [
    ([], {("body", "wrong_type")}),
    ({}, {("key", "missing_field"), ("expires_in", "missing_field")}),
    ({"key": 1, "expires_in": 60}, {("key", "wrong_type")}),
    ({"key": KEYS[0], "expires_in": True}, {("expires_in", "wrong_type")}),
    ({"key": KEYS[0], "expires_in": 9}, {("expires_in", "out_of_range")}),
    ({"key": KEYS[0], "expires_in": 86_401}, {("expires_in", "out_of_range")}),
    ({"key": f"{KEYS[0]}\n{KEYS[1]}", "expires_in": 0}, {("key", "ssh_key_invalid"), ("expires_in", "out_of_range")}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "body", "faults"),
    [*(("PUT", *case) for case in PUT_REFUSED), *(("POST", *case) for case in POST_REFUSED)],
)
async def test_every_fault_of_keys_is_told_at_once_and_nothing_changes(
    world: ApiWorld, method: str, body: object, faults: set[tuple[str, str]]
) -> None:
    job_id = await ready(world)
    reply = await world.call(method, f"/v1/jobs/{job_id}/ssh-keys", body)
    assert reply.status == 422, reply.raw
    assert {(fault["field"], fault["code"]) for fault in reply.json["faults"]} == faults
    assert in_file(world, job_id) == ["key1"]


async def test_a_key_of_a_megabyte_is_refused(world: ApiWorld) -> None:
    huge = {"authorized_keys": ["ssh-ed25519 " + "A" * (1 << 20)]}
    for method, path in (("PUT", f"/v1/jobs/{await ready(world)}/ssh-keys"), ("POST", "/v1/jobs")):
        body = huge if method == "PUT" else {"image": "busybox", "ssh": huge}
        reply = await world.call(method, path, data=io.BytesIO(json.dumps(body).encode()))
        assert (reply.status, reply.json["code"]) == (413, "body_too_large")


async def test_nobody_says_who_logs_in_to_a_job_of_another(world: ApiWorld) -> None:
    job_id = await ready(world)
    mallory = await world.new_token("mallory")
    reader = await world.new_token("alice", (Scope.JOBS_READ,))
    for token, status in ((mallory, 404), (reader, 403), ("", 401)):
        for method, body in (
            ("PUT", {"authorized_keys": KEYS[1:2]}),
            ("POST", {"key": KEYS[1], "expires_in": 60}),
        ):
            reply = await world.call(method, f"/v1/jobs/{job_id}/ssh-keys", body, token=token)
            assert reply.status == status
    assert in_file(world, job_id) == ["key1"]


async def test_the_keys_of_a_job_that_is_over_are_not_changed(world: ApiWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.finish(job_id)
    reply = await world.call("PUT", f"/v1/jobs/{job_id}/ssh-keys", {"authorized_keys": KEYS[:1]})
    assert (reply.status, reply.json["code"]) == (409, "ssh_ended")
    assert (await ssh_of(world, job_id))["state"] == "ended"


async def test_without_a_kit_jobs_with_ssh_are_refused_with_the_remedy_and_others_are_not(
    world: ApiWorld,
) -> None:
    world.kits.builds = 0
    reply = await world.call("POST", "/v1/jobs", {"image": "busybox", "ssh": SSH})
    assert reply.status == 422
    (fault,) = reply.json["faults"]
    assert (fault["field"], fault["code"]) == ("ssh", "ssh_kit_missing")
    assert "gpu-agent kit build" in fault["remedy"]
    assert "/kits" not in reply.raw.decode()
    reply = await world.call("POST", "/v1/jobs", {"image": "busybox", "ssh": SSH, "pids": 4_000_000})
    assert [fault["code"] for fault in reply.json["faults"]] == ["over_host_limit", "ssh_kit_missing"]
    await world.submit()


async def test_a_job_of_64_ports_has_none_left_for_ssh(world: ApiWorld) -> None:
    ports = [{"name": f"p{number}", "port": 9000 + number, "proto": "tcp"} for number in range(64)]
    reply = await world.call("POST", "/v1/jobs", {"image": "busybox", "ssh": SSH, "ports": ports})
    assert [(fault["field"], fault["code"]) for fault in reply.json["faults"]] == [
        ("ports", "over_host_limit")
    ]
