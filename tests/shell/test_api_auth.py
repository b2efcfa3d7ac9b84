"""Who may: tokens, scopes, principals, the Unix socket, and peers that fail."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.app import AUTH
from agent.api.auth import Access
from agent.api.openapi import PATTERN
from agent.api.slowdown import FREE_FAILURES, MAX_DELAY_SECONDS, MAX_PEERS, Slowdown, delay_seconds, peer_key
from agent.api.tokens import Scope, digest_of, find_token, new_token
from agent.interfaces import StoreUnavailableError
from tests.shell.api_world import BODY, EVERY_SCOPE, ID, ApiWorld, api_world

OPEN = {
    *(("GET", path) for path in ("/healthz", "/readyz", "/v1/healthz", "/v1/readyz")),
    *(("GET", path) for path in ("/", "/dashboard/app.js")),  # the program's own, of every host the same
}
# It takes a token, not as others do.
SIGNING_IN = ("POST", "/v1/session")
FOREIGN_PATHS = (
    "",
    "/logs",
    "/logs?format=ndjson&follow=1",
    "/outputs",
    "/outputs?format=tar",
    "/outputs/a.txt",
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


async def every_call(world: ApiWorld) -> list[tuple[str, str, str]]:
    """Method, path and what openapi.json says that it needs."""
    document = (await world.call("GET", "/openapi.json")).json
    return [
        (
            method.upper(),
            path.format(id=ID.format(1), path="x", uuid="GPU-1", name="web", function="f", file="app.js"),
            told["description"],
        )
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]


async def test_without_a_token_nothing_answers_but_what_needs_none(world: ApiWorld) -> None:
    for method, path, _ in await every_call(world):
        if (method, path) == SIGNING_IN:
            continue
        if (method, path) in OPEN:
            assert (await world.call(method, path, token="")).status in {200, 503}
            continue
        world.app[AUTH]._slowdown = Slowdown()  # a peer that has not failed before
        reply = await world.call(method, path, token="")
        assert (reply.status, reply.json["code"]) == (401, "unauthorized"), path
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("given", ["gat_x_y", "gat_" + "0" * 12 + "_" + "0" * 64, "x" * 5000])
async def test_a_token_that_nobody_made_is_refused(world: ApiWorld, given: str) -> None:
    reply = await world.call("GET", "/v1/jobs", token=given)
    assert (reply.status, reply.json["code"]) == (401, "unauthorized")
    assert given not in reply.raw.decode()


async def test_an_expired_or_revoked_token_is_refused(world: ApiWorld) -> None:
    expired = await world.new_token("alice", expires_in=-1)
    reply = await world.call("GET", "/v1/jobs", token=expired)
    assert (reply.status, reply.json["code"]) == (401, "token_expired")
    assert (await world.call("GET", "/v1/jobs")).status == 200
    for token in await world.store.tokens():
        await world.store.remove_token(token.id)
    assert (await world.call("GET", "/v1/jobs")).status == 401


async def test_each_endpoint_wants_its_own_scope(world: ApiWorld) -> None:
    for method, path, needs in await every_call(world):
        if (method, path) in {*OPEN, SIGNING_IN}:
            continue
        wanted = needs.removeprefix("Needs: ").removesuffix(".")
        lacking = await world.new_token("alice", tuple(s for s in EVERY_SCOPE if s.value != wanted))
        reply = await world.call("HEAD" if path.endswith("/events") else method, path, token=lacking)
        assert (reply.status == 403) == (wanted != Access.ANY_TOKEN.value), (method, path)


async def test_who_may_only_read_changes_nothing(world: ApiWorld) -> None:
    reader = await world.new_token("alice", (Scope.JOBS_READ, Scope.JOBS_ALL))
    calls = [(method, path) for method, path, _ in await every_call(world) if path != "/v1/session"]
    changing = [(method, path) for method, path in calls if method != "GET"]
    assert len(changing) >= 5
    for method, path in changing:
        reply = await world.call(method, path, token=reader)
        assert (reply.status, reply.json["code"]) == (403, "scope_missing"), (method, path)


async def test_what_is_anothers_does_not_exist(world: ApiWorld) -> None:
    job_id = await world.submit(secrets={"A": "b"}, labels={"who": "alice"})
    bob = await world.new_token("bob")
    missing = await world.call("GET", f"/v1/jobs/{ID.format(999)}", token=bob)
    for path in FOREIGN_PATHS:
        reply = await world.call("GET", f"/v1/jobs/{job_id}{path}", token=bob)
        assert (reply.status, reply.json["code"]) == (404, missing.json["code"]), path
        assert reply.raw.decode().replace(job_id, ID.format(999)) == missing.raw.decode(), path
    assert (await world.call("POST", f"/v1/jobs/{job_id}/cancel", token=bob)).status == 404
    assert (await world.call("DELETE", f"/v1/jobs/{job_id}", token=bob)).status == 404
    assert (await world.call("PUT", f"/v1/jobs/{job_id}", BODY, token=bob)).status == 404
    assert (await world.call("GET", f"/v1/events?job={job_id}", token=bob)).status == 404
    assert (await world.call("GET", f"/v1/jobs?id={job_id[:8]}", token=bob)).json["items"] == []
    assert (await world.call("GET", "/v1/jobs?label=who=alice", token=bob)).json["items"] == []
    assert (await world.folders.secrets(job_id)).values == {"A": "b"}


async def test_a_key_of_another_principal_is_another_key(world: ApiWorld) -> None:
    bob, key = await world.new_token("bob"), {"Idempotency-Key": "same"}
    hers = await world.call("POST", "/v1/jobs", BODY, headers=key)
    his = await world.call("POST", "/v1/jobs", {**BODY, "name": "his"}, token=bob, headers=key)
    assert (hers.status, his.status) == (201, 201)
    assert hers.json["id"] != his.json["id"]


async def test_jobs_all_sees_everybodys(world: ApiWorld) -> None:
    job_id = await world.submit()
    admin = await world.new_token("ops", (Scope.JOBS_READ, Scope.JOBS_ALL))
    assert (await world.call("GET", f"/v1/jobs/{job_id}", token=admin)).json["owner"] == "alice"
    assert (await world.call("DELETE", f"/v1/jobs/{job_id}", token=admin)).status == 403


async def test_a_peer_on_the_unix_socket_is_local_with_every_scope(world: ApiWorld) -> None:
    job_id = await world.submit()
    connector = aiohttp.UnixConnector(str(world.socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.get(f"http://local/v1/jobs/{job_id}") as answer:
            assert answer.status == 200
        async with http.post("http://local/v1/jobs", json=BODY) as answer:
            assert (await answer.json())["owner"] == "local"


async def test_the_last_use_is_written_at_most_once_a_minute(world: ApiWorld) -> None:
    writes = 0

    async def count(step: str) -> None:
        nonlocal writes
        writes += step == "token_used"

    world.store.before = count
    for _ in range(3):
        await world.call("GET", "/v1/jobs")
    assert writes == 1
    world.clock.started += 61
    await world.call("GET", "/v1/jobs")
    assert writes == 2


async def test_a_full_disk_locks_nobody_out(world: ApiWorld) -> None:
    async def full(step: str) -> None:
        if step == "token_used":
            raise StoreUnavailableError("disk full")

    world.store.before = full
    assert (await world.call("GET", "/v1/jobs")).status == 200


async def test_a_failure_is_logged_without_the_token(
    world: ApiWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "gat_0123456789ab_" + "f" * 64
    await world.call("GET", "/v1/jobs?x=1", token=secret)
    out = "".join(capfd.readouterr())
    assert "auth.failed" in out
    assert "127.0.0.1" in out
    assert secret not in out
    assert "f" * 16 not in out


async def test_only_a_digest_of_a_token_is_stored() -> None:
    made = new_token("n", "p", [Scope.JOBS_READ], 0.0, None)
    assert made.record.digest == digest_of(made.secret)
    assert made.secret not in repr(made.record)
    assert made.secret.split("_")[2] not in repr(made.record)
    assert find_token([made.record], made.secret) == made.record


@given(st.text(max_size=300))
def test_no_other_text_is_ever_taken_for_the_token(text: str) -> None:
    made = new_token("n", "p", [Scope.JOBS_READ], 0.0, None)
    assert find_token([made.record], text) is None
    assert find_token([made.record], made.secret + text) == (None if text else made.record)


def test_delays_grow_to_a_bound_and_are_forgotten() -> None:
    slow = Slowdown()
    seconds = [slow.note("192.0.2.1", 0.0)[1] for _ in range(40)]
    assert seconds[:FREE_FAILURES] == [0.0] * FREE_FAILURES
    assert seconds == sorted(seconds)
    assert seconds[-1] == MAX_DELAY_SECONDS
    assert slow.note("192.0.2.2", 0.0)[1] == 0.0
    assert slow.note("192.0.2.1", 1000.0) == (1, 0.0)
    assert slow.total == 42


@given(st.integers(min_value=0, max_value=10**9))
def test_a_delay_is_never_over_its_bound(failures: int) -> None:
    assert 0 <= delay_seconds(failures) <= MAX_DELAY_SECONDS


def test_the_memory_of_peers_is_bounded() -> None:
    slow = Slowdown()
    for number in range(MAX_PEERS + 100):
        slow.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(slow._peers) == MAX_PEERS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        (None, "?"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_addresses_of_one_peer_are_one_peer(one: str | None, other: str) -> None:
    assert peer_key(one) == peer_key(other)


async def test_a_good_token_is_never_slowed_by_a_bad_neighbour(world: ApiWorld) -> None:
    for _ in range(FREE_FAILURES + 1):
        await world.call("GET", "/v1/jobs", token="gat_bad")
    assert (await world.call("GET", "/v1/jobs")).status == 200


async def test_the_description_lists_exactly_what_is_routed(world: ApiWorld) -> None:
    routed = {
        (
            route.method,
            PATTERN.sub(r"{\1}", (route.resource.get_info().get("path") or route.resource._orig_path)),
        )
        for route in world.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    document = (await world.call("GET", "/v1/openapi.json")).json
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == routed
    assert document["openapi"] == "3.1.0"
    names = set(document["components"]["schemas"])
    text = (await world.call("GET", "/v1/openapi.json")).raw.decode()
    assert {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]} <= names
