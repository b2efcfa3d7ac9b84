"""The GPUs over the API: what each is and how, whose it is to whom that is any business, and an operator's word."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agent.api.tokens import Scope
from agent.core.gpu_findings import UNTOLD, Gate
from agent.core.gpus import Gpu
from agent.core.lease import Lease
from agent.core.topology import LinkClass, Links
from agent.errors import Phase
from tests.shell.api_world import ApiWorld, api_world, until

GIB = 2**30
ONE, TWO = (Gpu(f"GPU-{n}", "NVIDIA H100", 80 * GIB, pci=f"0{n}", numa_node=0) for n in (1, 2))
INSTANCE = Gpu("MIG-1", "NVIDIA A100", 10 * GIB, pci="03", mig="1g.10gb")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        made.token = await made.new_token("alice")
        yield made


async def fill(world: ApiWorld) -> None:
    world.gpus.gpus = (ONE, TWO, INSTANCE)
    world.gpus.links = Links({frozenset(("GPU-1", "GPU-2")): LinkClass.NVLINK})
    await world.care.look()


async def lease(world: ApiWorld, uuid: str) -> str:
    job_id = await world.submit(gpus=1)
    job = await world.store.read(job_id)
    assert job is not None
    await world.store.save(replace(job, phase=Phase.RUNNING, lease=Lease((uuid,), ())))
    return job_id


async def test_all_gpus_are_listed_with_their_state_and_links(world: ApiWorld) -> None:
    await fill(world)
    job_id = await lease(world, "GPU-1")
    reply = await world.call("GET", "/v1/gpus")
    assert reply.status == 200
    first, second, instance = reply.json["items"]
    assert (first["uuid"], first["leased"], first["job"], first["state"]) == ("GPU-1", True, job_id, "ok")
    assert (second["leased"], second["job"], second["numa_node"]) == (False, None, 0)
    assert (instance["mig"], instance["memory"]) == ("1g.10gb", 10 * GIB)
    assert reply.json["links"] == [{"gpus": ["GPU-1", "GPU-2"], "link": "nvlink"}]
    assert reply.json["condition"] is None


async def test_processes_on_a_gpu_are_named_to_operators_of_the_host_alone(world: ApiWorld) -> None:
    await fill(world)
    world.gpus.dirty = {"GPU-1"}
    await world.care.look()
    operator = await world.new_token("oscar", (Scope.GPUS_ADMIN,))
    for token, is_told in ((None, False), (operator, True)):
        shown = (await world.call("GET", "/v1/gpus/GPU-1", token=token)).json
        (change,) = shown["history"]
        assert shown["reason"] == change["reason"] == "gpu_busy_foreign"
        assert [("4711" in words, words.endswith(UNTOLD)) for words in (shown["words"], change["words"])] == [
            (is_told, not is_told)
        ] * 2


async def test_whose_lease_it_is_only_its_owner_sees(world: ApiWorld) -> None:
    await fill(world)
    job_id = await lease(world, "GPU-1")
    other = await world.new_token("mallory")
    seen = (await world.call("GET", "/v1/gpus/GPU-1", token=other)).json
    assert (seen["leased"], seen["job"]) == (True, None)
    everybodys = await world.new_token("root", (Scope.JOBS_READ, Scope.JOBS_ALL))
    assert (await world.call("GET", "/v1/gpus/GPU-1", token=everybodys)).json["job"] == job_id


async def test_an_operator_takes_a_gpu_out_and_gives_it_back(world: ApiWorld) -> None:
    await fill(world)
    operator = await world.new_token("op", (Scope.GPUS_ADMIN,))
    reply = await world.call(
        "POST", "/v1/gpus/GPU-2/quarantine", {"words": "the fan rattles"}, token=operator
    )
    assert (reply.status, reply.json["state"], reply.json["words"]) == (200, "quarantined", "the fan rattles")
    assert reply.json["needs"] == ["operator"]
    reply = await world.call("POST", "/v1/gpus/GPU-2/restore", token=operator)
    assert (reply.status, reply.json["state"], reply.json["words"]) == (200, "ok", None)
    assert [change["to"] for change in reply.json["history"]] == ["quarantined", "ok"]


async def test_who_is_no_operator_moves_nothing(world: ApiWorld) -> None:
    await fill(world)
    for path in ("/v1/gpus/GPU-2/quarantine", "/v1/gpus/GPU-2/restore", "/v1/gpus/GPU-2/reset"):
        assert (await world.call("POST", path)).json["code"] == "scope_missing"
        assert (await world.call("POST", path, token="")).status == 401
    assert (await world.call("GET", "/v1/gpus/GPU-2")).json["state"] == "ok"
    assert (await world.call("GET", "/v1/gpus", token="")).status == 401


async def test_what_would_not_help_is_refused_with_the_reason(world: ApiWorld) -> None:
    await fill(world)
    world.gpus.send_xid("GPU-1", 62)
    await world.care.look()
    operator = await world.new_token("op", (Scope.GPUS_ADMIN,))
    reply = await world.call("POST", "/v1/gpus/GPU-1/restore", token=operator)
    assert (reply.status, reply.json["code"]) == (409, "gpu_request_refused")
    assert "gpu_needs_reset" in reply.json["detail"]
    assert (await world.call("GET", "/v1/gpus/GPU-1")).json["needs"] == ["probation", "reset"]


async def test_a_reset_is_accepted_at_once_and_shown_until_it_has_ended(world: ApiWorld) -> None:
    await fill(world)
    world.gpus.reset_seconds = 0.2
    operator = await world.new_token("op", (Scope.GPUS_ADMIN,))
    reply = await world.call("POST", "/v1/gpus/GPU-2/reset", {"words": "it is stuck"}, token=operator)
    assert (reply.status, reply.json["state"], reply.json["words"]) == (202, "resetting", "it is stuck")
    assert world.gpus.resets == []
    watching = asyncio.ensure_future(world.care.watch())
    await until(lambda: world.gpus.under_reset == {"GPU-2"})
    assert (await world.call("GET", "/v1/gpus/GPU-2")).json["state"] == "resetting"
    await until(lambda: world.care.healths["GPU-2"].state == "quarantined")
    shown = (await world.call("GET", "/v1/gpus/GPU-2")).json
    assert (shown["needs"], shown["probation_left"]) == (["probation"], pytest.approx(600, abs=10))
    assert [change["to"] for change in shown["history"]] == ["resetting", "quarantined"]
    watching.cancel()
    await asyncio.wait({watching})


async def test_a_leased_gpu_is_not_reset_and_whose_it_is_only_who_may_see_is_told(world: ApiWorld) -> None:
    await fill(world)
    job_id = await lease(world, "GPU-1")
    operator = await world.new_token("op", (Scope.GPUS_ADMIN,))
    for token, told in (
        (operator, "GPU-1 is held by a job"),
        (await world.new_token("root", (Scope.GPUS_ADMIN, Scope.JOBS_ALL)), f"GPU-1 is held by job {job_id}"),
    ):
        reply = await world.call("POST", "/v1/gpus/GPU-1/reset", token=token)
        assert (reply.status, reply.json["code"], reply.json["blame"]) == (409, "gpu_leased", "user")
        assert reply.json["detail"] == told
    assert (await world.call("GET", "/v1/gpus/GPU-1")).json["state"] == "ok"


async def test_an_instance_is_not_reset_and_its_gpu_is_named(world: ApiWorld) -> None:
    await fill(world)
    operator = await world.new_token("op", (Scope.GPUS_ADMIN,))
    reply = await world.call("POST", "/v1/gpus/MIG-1/reset", token=operator)
    assert (reply.status, reply.json["code"]) == (409, "gpu_request_refused")
    assert "gpu_is_instance" in reply.json["detail"]
    assert "PCI 03" in reply.json["detail"]


async def test_a_gpu_that_is_not_there_and_words_that_are_none_are_told(world: ApiWorld) -> None:
    await fill(world)
    operator = await world.new_token("op", (Scope.GPUS_ADMIN,))
    for method, path in (
        ("GET", "/v1/gpus/GPU-9"),
        ("POST", "/v1/gpus/GPU-9/quarantine"),
        ("POST", "/v1/gpus/GPU-9/reset"),
    ):
        reply = await world.call(method, path, token=operator)
        assert (reply.status, reply.json["code"]) == (404, "gpu_not_found")
    for body in ([], {"words": 1}, {"words": "x" * 301}, {"words": "two\nlines"}, {"why": "x"}):
        reply = await world.call("POST", "/v1/gpus/GPU-1/quarantine", body, token=operator)
        assert (reply.status, reply.json["code"]) == (400, "bad_request"), body
    assert (await world.call("GET", "/v1/gpus/GPU-1")).json["state"] == "ok"


async def test_a_host_without_gpus_says_so(tmp_path: Path) -> None:
    async with api_world(tmp_path) as world:
        world.token = await world.new_token("alice")
        assert (await world.call("GET", "/v1/gpus")).json == {"items": [], "links": [], "condition": None}


async def test_what_is_leased_while_its_gate_is_read_is_not_taken_for_a_strangers(world: ApiWorld) -> None:
    await fill(world)
    read = world.gpus.gates

    async def lease_and_read(uuids: Sequence[str]) -> Mapping[str, Gate]:
        await lease(world, "GPU-1")
        world.gpus.dirty.add("GPU-1")  # the job's own process
        return await read(uuids)

    world.gpus.gates = lease_and_read  # type: ignore[method-assign] # this fake is slow at one step
    await world.care.look()
    assert (await world.call("GET", "/v1/gpus/GPU-1")).json["state"] == "ok"
