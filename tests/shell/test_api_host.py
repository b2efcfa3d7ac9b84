"""The host over HTTP: capacity, images, health."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.api.tokens import Scope
from agent.core.container import PullProgress
from agent.core.gpus import Gpu
from agent.core.policy import ImageRules
from agent.core.reasons import reason
from agent.interfaces import EngineUnavailableError, PullFailedError
from agent.jobs import health as health_module
from agent.jobs.health import CheckState, Finding, Health
from agent.jobs.probes import (
    FREE_FAIL_BYTES,
    FREE_WARN_BYTES,
    clock_probe,
    disk_probe,
    engine_probe,
    live_restore_probe,
    store_probe,
)
from tests.fakes.clock import FakeClock
from tests.shell.api_world import EVERY_SCOPE, ApiWorld, api_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        made.token = await made.new_token("ops", EVERY_SCOPE)
        yield made


async def test_the_host_shows_what_it_has_and_what_is_taken(world: ApiWorld) -> None:
    world.gpus.gpus = (Gpu("GPU-1", "L4", 1 << 34),)
    await world.submit(queue="night")
    host = (await world.call("GET", "/v1/host")).json
    assert host["ports"] == {"first": 20000, "last": 20009, "held": 0, "bad": 0, "free": 10}
    # The name of a queue is its principal's own business: only the config's are told.
    assert host["queues"] == {"default": {"concurrency": 8, "queued": 1, "active": 0}}
    assert host["gpus"] == [{"uuid": "GPU-1", "model": "L4", "memory": 1 << 34, "leased": False}]
    assert host["jobs"]["queued"] == 1
    assert host["engine"]["live_restore"] is True
    assert (host["agent"], host["version"]) == ("agent-1", "1.2.3")


async def test_an_engine_that_is_down_is_null_in_the_host(world: ApiWorld) -> None:
    world.engine.is_up = False
    host = (await world.call("GET", "/v1/host")).json
    assert (host["engine"], host["cpus"], host["memory"]) == (None, None, None)


async def test_a_pull_tells_its_progress_line_by_line(world: ApiWorld) -> None:
    world.pulls += [PullProgress(1, 2, 0, 1), PullProgress(2, 2, 1, 1)]
    reply = await world.call("POST", "/v1/images/pull", {"image": "alpine:3.20"})
    lines = [json.loads(line) for line in reply.raw.splitlines()]
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    assert [line["state"] for line in lines] == ["pulling", "pulling", "done"]
    assert lines[0]["done_bytes"] == 1


async def test_a_pull_that_fails_at_once_is_a_problem_and_one_that_fails_later_a_line(
    world: ApiWorld,
) -> None:
    world.pulls.append(PullFailedError("image_not_found", "no such image"))
    at_once = await world.call("POST", "/v1/images/pull", {"image": "nope"})
    assert (at_once.status, at_once.json["code"], at_once.json["blame"]) == (422, "image_not_found", "user")
    world.pulls.insert(0, PullProgress(1, 2, 0, 1))
    later = await world.call("POST", "/v1/images/pull", {"image": "nope"})
    last = json.loads(later.raw.splitlines()[-1])
    assert (later.status, last["state"], last["message"]) == (200, "failed", "no such image")
    assert (last["code"], last["blame"]) == ("image_not_found", "user")


async def test_a_registry_that_is_down_is_not_the_callers_fault(world: ApiWorld) -> None:
    world.pulls.append(PullFailedError("registry_unavailable", "no route to it"))
    reply = await world.call("POST", "/v1/images/pull", {"image": "alpine"})
    assert reply.status == 502
    told = {name: reply.json[name] for name in ("code", "blame", "phase", "detail", "remedy")}
    why = reason("registry_unavailable")
    assert told == {
        "code": "registry_unavailable",
        "blame": "host",
        "phase": "queued",
        "detail": "no route to it",
        "remedy": why.remedy,
    }
    world.pulls.insert(0, PullProgress(1, 2, 0, 1))
    lines = (await world.call("POST", "/v1/images/pull", {"image": "alpine"})).raw.splitlines()
    last = json.loads(lines[-1])
    assert (last["code"], last["blame"], last["remedy"]) == ("registry_unavailable", "host", why.remedy)


async def test_an_engine_that_is_down_at_a_pull_is_a_503(world: ApiWorld) -> None:
    world.pulls.append(EngineUnavailableError("connection refused"))
    reply = await world.call("POST", "/v1/images/pull", {"image": "alpine"})
    assert (reply.status, reply.json["code"]) == (503, "engine_unavailable")


@pytest.mark.parametrize(
    "body", [[], {}, {"image": 1}, {"image": "a/UPPER"}, {"image": "a", "tag": "b"}, {"image": "x" * 600}]
)
async def test_a_bad_pull_is_refused(world: ApiWorld, body: object) -> None:
    reply = await world.call("POST", "/v1/images/pull", body)
    assert (reply.status, reply.json["code"]) == (400, "bad_request")


async def test_an_image_that_the_host_denies_is_not_pulled(tmp_path: Path) -> None:
    async with api_world(tmp_path, images=ImageRules(allow=("docker.io/library/*",))) as world:
        world.token = await world.new_token("ops", EVERY_SCOPE)
        reply = await world.call("POST", "/v1/images/pull", {"image": "evil.example/x"})
        assert (reply.status, reply.json["faults"][0]["code"]) == (422, "image_not_allowed")


async def test_ready_tells_names_only_and_health_tells_all(world: ApiWorld) -> None:
    async def broken() -> Finding:
        return Finding(CheckState.FAIL, "secret-detail", "mend it")

    world.probes["engine"] = broken
    for base in ("", "/v1"):
        ready = await world.call("GET", f"{base}/readyz", token="")
        assert (ready.status, ready.json) == (503, {"state": "fail", "failed": ["engine"]})
        checks = (await world.call("GET", f"{base}/health")).json
        assert checks["state"] == "fail"
        (engine,) = [check for check in checks["checks"] if check["name"] == "engine"]
        assert (engine["evidence"], engine["remedy"]) == ("secret-detail", "mend it")
        assert (await world.call("GET", f"{base}/healthz", token="")).json == {"state": "ok"}


async def test_what_names_others_is_in_health_for_who_looks_after_the_host_alone(world: ApiWorld) -> None:
    async def probe() -> Finding:
        return Finding(CheckState.WARN, "one container", "Stop it.", "container miner")

    world.probes["strangers"] = probe
    for scope, evidence in ((Scope.JOBS_READ, "one container"), (Scope.HOST_ADMIN, "container miner")):
        token = await world.new_token("oscar", (scope,))
        checks = (await world.call("GET", "/health", token=token)).json["checks"]
        assert [check["evidence"] for check in checks if check["name"] == "strangers"] == [evidence]


async def found(probe: health_module.Probe) -> Finding:
    return await health_module.run_probe("x", probe, seconds=0.1)


async def test_an_engine_that_is_down_is_told_from_one_that_hangs(world: ApiWorld) -> None:
    assert (await found(engine_probe(world.engine))).state is CheckState.OK
    world.engine.is_up = False
    down = await found(engine_probe(world.engine))
    assert down.state is CheckState.FAIL

    async def hang() -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    hanging = await found(hang)
    assert "hangs" in hanging.evidence
    assert "hangs" not in down.evidence


async def test_a_defect_in_one_check_hides_no_other(world: ApiWorld) -> None:
    async def crash() -> Finding:
        raise ZeroDivisionError

    async def fine() -> Finding:
        return Finding(CheckState.OK, "fine")

    checks = await Health(world.clock, {"a": crash, "b": fine}, frozenset()).look()
    assert [(check.name, check.state.value) for check in checks] == [("a", "fail"), ("b", "ok")]


async def test_since_is_when_the_state_began() -> None:
    clock, states = FakeClock(), [CheckState.OK, CheckState.FAIL, CheckState.FAIL, CheckState.OK]

    async def probe() -> Finding:
        return Finding(states.pop(0), "")

    health = Health(clock, {"a": probe}, frozenset({"a"}))
    seen = []
    for _ in range(4):
        health._looked_at = float("-inf")
        clock.started += 100
        (check,) = await health.look()
        seen.append(round(check.since - FakeClock().started, -1))
    assert seen[1] == seen[2]
    assert seen[0] < seen[1] < seen[3]


async def test_many_that_ask_at_once_cost_one_look() -> None:
    looks = 0

    async def probe() -> Finding:
        nonlocal looks
        looks += 1
        return Finding(CheckState.OK, "")

    health = Health(FakeClock(), {"a": probe}, frozenset())
    await asyncio.gather(*(health.look() for _ in range(50)))
    assert looks == 1


@pytest.mark.parametrize(
    ("free", "state"),
    [
        (FREE_FAIL_BYTES - 1, "fail"),
        (FREE_FAIL_BYTES, "warn"),
        (FREE_WARN_BYTES - 1, "warn"),
        (FREE_WARN_BYTES, "ok"),
    ],
)
async def test_a_full_disk_is_seen_before_it_is_full(free: int, state: str) -> None:
    async def read() -> int:
        return free

    assert (await disk_probe(read)()).state.value == state


async def test_a_stepped_clock_is_told(world: ApiWorld) -> None:
    probe = clock_probe(world.clock)
    assert (await probe()).state is CheckState.OK
    world.clock.started += 3600
    assert "+3600 s" in (await probe()).evidence


async def test_an_engine_without_seccomp_fails_its_check(world: ApiWorld) -> None:
    world.engine.seccomp = False
    finding = await engine_probe(world.engine)()
    assert finding.state is CheckState.FAIL
    assert "seccomp" in finding.evidence
    assert finding.remedy


async def test_live_restore_and_the_store_are_looked_at(world: ApiWorld) -> None:
    assert (await live_restore_probe(world.engine)()).state is CheckState.OK
    world.engine.live_restore = False
    assert (await live_restore_probe(world.engine)()).state is CheckState.FAIL
    assert (await store_probe(world.store, world.clock)()).state is CheckState.OK
