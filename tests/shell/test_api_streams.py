"""Streams of the API: events, logs, slow readers, and how they end."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from agent.api.auth import Caller
from agent.api.cursors import read_cursor, write_cursor
from agent.api.limits import ApiLimits
from agent.api.streams import Stream
from agent.core.job import NewEvent
from agent.interfaces import StoreUnavailableError
from tests.shell.api_world import ID, ApiWorld, api_world, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


class Follower:
    """A client of /events that reads one event at a time."""

    def __init__(self, world: ApiWorld, query: str, headers: dict[str, str] | None = None) -> None:
        sent = {"Authorization": f"Bearer {world.token}", **(headers or {})}
        assert world.http is not None
        self._request = world.http.get(f"{world.url}/v1/events?{query}", headers=sent)
        self.answer: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Self:
        self.answer = await self._request.__aenter__()
        assert self.answer.status == 200
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.answer is not None
        self.answer.close()

    async def next(self) -> dict[str, Any]:
        assert self.answer is not None
        while True:
            block = b""
            async with asyncio.timeout(3):
                while not block.endswith(b"\n\n"):
                    line = await self.answer.content.readline()
                    if not line:
                        raise EOFError
                    block += line
            fields = dict(
                line.split(": ", 1) for line in block.decode().strip().split("\n") if not line.startswith(":")
            )
            if fields:
                return {
                    **json.loads(fields["data"]),
                    "sse_id": int(fields["id"]),
                    "sse_event": fields["event"],
                }


async def test_events_come_as_they_happen_and_resume_without_a_gap(world: ApiWorld) -> None:
    async with Follower(world, "after=0") as follower:
        job_id = await world.submit()
        first = await follower.next()
        assert (first["job"], first["n"], first["sse_id"]) == (job_id, 1, first["seq"])
        assert first["sse_event"] == first["type"]
    await world.finish(job_id)
    await world.submit()
    async with Follower(world, "after=0", {"Last-Event-ID": str(first["seq"])}) as follower:
        assert [(await follower.next())["seq"] for _ in range(2)] == [first["seq"] + 1, first["seq"] + 2]


async def test_events_of_one_job_and_of_ones_own_only(world: ApiWorld) -> None:
    mine, other = await world.submit(), await world.submit()
    alice, world.token = world.token, await world.new_token("bob")
    his = await world.submit()
    async with Follower(world, "after=0") as follower:
        assert (await follower.next())["job"] == his
    world.token = alice
    async with Follower(world, f"after=0&job={other}") as follower:
        assert (await follower.next())["job"] == other
        await world.finish(mine)
        await world.finish(other)
        assert (await follower.next())["type"] == "job.finished"


async def test_an_event_that_is_written_while_the_others_are_read_comes_at_once(world: ApiWorld) -> None:
    job_id = await world.submit()
    is_written = False

    async def write_behind_the_read(step: str) -> None:
        nonlocal is_written
        if step == "events" and not is_written:
            is_written = True
            await world.store.append_event(job_id, NewEvent("job.noted", {}))

    world.store.after = write_behind_the_read
    async with Follower(world, "") as follower:
        assert (await follower.next())["type"] == "job.noted"


async def test_without_after_only_what_comes_is_told(world: ApiWorld) -> None:
    await world.submit()
    async with Follower(world, "") as follower:
        late = await world.submit()
        assert (await follower.next())["job"] == late


async def test_a_silent_stream_is_kept_alive(tmp_path: Path) -> None:
    limits = ApiLimits(stream_seconds=5, keep_alive_seconds=0.02)
    async with api_world(tmp_path, api_limits=limits) as world, Follower(world, "") as follower:
        assert follower.answer is not None
        assert await follower.answer.content.readuntil(b"still here\n\n")


async def test_where_the_past_ends_is_told_once(world: ApiWorld) -> None:
    job_id = await world.submit()
    async with Follower(world, "after=0") as follower:
        assert follower.answer is not None
        past = await asyncio.wait_for(follower.answer.content.readuntil(b": caught up\n\n"), 3)
        assert b"event: job.accepted" in past
        await world.finish(job_id)
        assert (await follower.next())["type"] == "job.finished"
        await world.submit()
        later = await asyncio.wait_for(follower.answer.content.readuntil(b"\n\n"), 3)
        assert later.startswith(b"id: ")


@pytest.mark.parametrize("query", ["after=-1", "after=x", "afer=1"])
async def test_a_bad_place_to_start_is_refused(world: ApiWorld, query: str) -> None:
    assert (await world.call("GET", f"/v1/events?{query}")).status == 400
    assert (await world.call("GET", "/v1/events", headers={"Last-Event-ID": "x"})).status == 400


async def test_a_client_that_goes_frees_its_stream_though_nothing_flows(tmp_path: Path) -> None:
    limits = ApiLimits(stream_seconds=5, streams_per_token=2)
    async with api_world(tmp_path, api_limits=limits) as world:
        job_id = await world.submit()
        async with Follower(world, ""), Follower(world, ""):
            refused = await world.call("GET", "/v1/events")
            assert (refused.status, refused.json["code"]) == (429, "too_many_streams")
        async with asyncio.timeout(3):
            while (await world.call("GET", f"/v1/jobs/{job_id}/logs")).status == 429:
                await asyncio.sleep(0.01)
        async with Follower(world, ""), Follower(world, ""):
            pass


async def test_a_stream_ends_with_its_token(tmp_path: Path) -> None:
    limits = ApiLimits(stream_seconds=5, recheck_seconds=0)
    async with api_world(tmp_path, api_limits=limits) as world, Follower(world, "") as follower:
        await world.submit()
        await follower.next()
        for token in await world.store.tokens():
            await world.store.remove_token(token.id)
        world.token = await world.new_token("alice")
        await world.submit()
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await follower.next()


@pytest.mark.parametrize(
    "way", ["/logs?follow=1", "/logs?follow=1&format=ndjson", "?wait=finished&timeout=60"]
)
async def test_a_silent_stream_ends_with_its_token_too(tmp_path: Path, way: str) -> None:
    limits = ApiLimits(stream_seconds=5, recheck_seconds=0.02)
    steps: list[str] = []

    async def note(step: str) -> None:
        steps.append(step)

    async with api_world(tmp_path, api_limits=limits) as world:
        job_id = await world.submit()
        world.store.before = note
        following = asyncio.ensure_future(world.call("GET", f"/v1/jobs/{job_id}{way}"))
        await until(lambda: steps[-1:] == ["tokens"] and len(steps) > 4)  # it is looked after, and silent
        for token in await world.store.tokens():
            await world.store.remove_token(token.id)
        # Where no byte had come, the client asks once more by itself.
        with suppress(aiohttp.ClientError):
            assert (await asyncio.wait_for(following, 3)).status == 401


async def test_closing_takes_no_time_though_streams_are_open(world: ApiWorld) -> None:
    async with Follower(world, "") as follower:
        assert world.sites is not None
        async with asyncio.timeout(2):
            await world.sites.close()
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await follower.next()
    assert not world.socket.exists()


async def test_a_reader_that_takes_nothing_is_cut(tmp_path: Path) -> None:
    async with api_world(tmp_path, api_limits=ApiLimits(stream_seconds=0.3)) as world:
        job_id = await world.submit()
        await world.folders.prepare(job_id)
        with (world.state / "jobs" / job_id / "outputs" / "big").open("wb") as file:
            file.truncate(1 << 30)
        reader, writer = await asyncio.open_connection(sock=tiny_socket(world))
        writer.write(
            f"GET /v1/jobs/{job_id}/outputs/big HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.token}\r\n\r\n".encode()
        )
        assert b"200" in await reader.readline()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        server = world.sites._runner.server  # type: ignore[union-attr]
        assert server is not None
        kept_by_the_client = 1
        assert len(server.connections) == 1 + kept_by_the_client
        await until(lambda: len(server.connections) == kept_by_the_client)
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_reader_that_does_not_take_the_end_is_cut() -> None:
    class Endless(web.StreamResponse):
        prepared = True

        async def write_eof(self, data: bytes = b"") -> None:
            await asyncio.Event().wait()

    async def nothing() -> AsyncIterator[bytes]:
        return
        yield

    async def is_live(_caller: Caller) -> bool:
        return True

    stream = Stream(
        make_mocked_request("GET", "/"), Caller("alice", frozenset()), is_live, ApiLimits(stream_seconds=0.05)
    )
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionResetError):
            await stream.send_all(Endless(), nothing())


def tiny_socket(world: ApiWorld) -> socket.socket:
    assert world.sites is not None
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", world.sites.port))
    sock.settimeout(0)
    return sock


async def test_an_answer_that_breaks_is_no_whole_one(world: ApiWorld) -> None:
    calls = 0

    async def break_later(step: str) -> None:
        nonlocal calls
        if step == "events":
            calls += 1
            if calls > 1:
                raise StoreUnavailableError("gone")

    world.store.before = break_later
    await world.submit()
    async with Follower(world, "after=0") as follower:
        await follower.next()
        with pytest.raises((EOFError, aiohttp.ClientError)):
            await follower.next()


async def test_a_log_is_checked_before_it_begins(world: ApiWorld) -> None:
    job_id = await world.submit()
    bad = await world.call("GET", f"/v1/jobs/{job_id}/logs?cursor=zzz")
    assert (bad.status, bad.json["code"]) == (400, "bad_cursor")
    for way in ("", "&follow=1", "&format=ndjson&follow=1"):
        missing = await world.call("GET", f"/v1/jobs/{job_id}/logs?attempt=7{way}")
        assert (missing.status, missing.json["code"]) == (404, "no_such_attempt")
    named = await world.call(
        "GET", f"/v1/jobs/{job_id}/logs?format=xml&stream=x&tail=-1&since=now&follow=perhaps"
    )
    assert {fault["field"] for fault in named.json["faults"]} == {
        "format",
        "stream",
        "tail",
        "since",
        "follow",
    }


async def test_a_log_of_a_queued_job_is_empty_and_following_it_waits(world: ApiWorld) -> None:
    job_id = await world.submit()
    plain = await world.call("GET", f"/v1/jobs/{job_id}/logs")
    assert (plain.status, plain.raw) == (200, b"")
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = await world.call("GET", f"/v1/jobs/{job_id}/logs?format=ndjson&since=2030-01-31T08:00:00Z")
    assert lines.headers["Content-Type"] == "application/x-ndjson"
    following = asyncio.ensure_future(world.call("GET", f"/v1/jobs/{job_id}/logs?follow=true"))
    await asyncio.sleep(0.05)
    assert not following.done()
    await world.finish(job_id)
    assert (await asyncio.wait_for(following, 5)).status == 200


async def test_a_drained_log_is_served_as_text_and_as_lines_with_cursors(world: ApiWorld) -> None:
    job_id = await world.submit()
    part = await world.folders.log_part(job_id, 1)
    for number in range(3):
        text = f"2030-01-01T00:00:0{number}.000000000Z line {number}\n".encode()
        await part.write(bytes([1 + number % 2, 0, 0, 0]) + len(text).to_bytes(4, "big") + text)
    await part.commit()
    await world.finish(job_id)
    text = await world.call("GET", f"/v1/jobs/{job_id}/logs")
    assert text.raw == b"line 0\nline 1\nline 2\n"
    lines = [
        json.loads(line)
        for line in (await world.call("GET", f"/v1/jobs/{job_id}/logs?format=ndjson")).raw.splitlines()
    ]
    assert len(lines) == 3
    rest = await world.call("GET", f"/v1/jobs/{job_id}/logs?cursor={lines[0]['cursor']}")
    assert rest.raw == b"line 1\nline 2\n"
    assert (await world.call("GET", f"/v1/jobs/{job_id}/logs?stream=stderr&tail=5")).raw == b"line 1\n"
    stamped = await world.call("GET", f"/v1/jobs/{job_id}/logs?timestamps=1&tail=1")
    assert stamped.raw == b"2030-01-01T00:00:02.000000000Z line 2\n"
    assert (await world.call("HEAD", f"/v1/jobs/{job_id}/logs")).status == 200


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_a_list_cursor_is_read_as_it_was_written(seq: int) -> None:
    class Given:
        def text(self, _name: str) -> str:
            return write_cursor(seq)

    assert read_cursor(Given()) == seq  # type: ignore[arg-type]


async def test_an_event_with_line_ends_in_it_is_one_event(world: ApiWorld) -> None:
    job_id = await world.submit()
    await world.store.append_event(
        job_id, NewEvent("job.progress", {"message": "a\n\ndata: forged\n\nid: 9"})
    )
    async with Follower(world, "after=0") as follower:
        await follower.next()
        assert (await follower.next())["data"] == {"message": "a\n\ndata: forged\n\nid: 9"}


async def test_unknown_jobs_have_no_events(world: ApiWorld) -> None:
    assert (await world.call("GET", f"/v1/events?job={ID.format(77)}")).status == 404


async def test_a_wait_is_a_stream_and_the_hosts_own_people_are_not_counted(tmp_path: Path) -> None:
    limits = ApiLimits(stream_seconds=5, streams_per_token=1)
    async with api_world(tmp_path, api_limits=limits) as world:
        job_id = await world.submit()
        async with Follower(world, ""):
            refused = await world.call("GET", f"/v1/jobs/{job_id}?wait=finished&timeout=0")
            assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
            assert (await world.call("GET", f"/v1/jobs/{job_id}")).status == 200
        connector = aiohttp.UnixConnector(str(world.socket))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get("http://local/v1/events"),
            http.get("http://local/v1/events") as second,
        ):
            assert second.status == 200
