"""Requests and answers made to be read in two ways: each is refused, or becomes exactly one message of one meaning."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.shell.api_world import LONG, until
from tests.shell.proxy_world import OK, ProxyWorld, proxy_world, status_of

MIB = 1 << 20
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: agent\r\n\r\n"


def post(world: ProxyWorld, *lines: str, body: bytes = b"", host: str = "Host: agent") -> bytes:
    head = [f"POST {world.base}/ HTTP/1.1", host, world.bearer, *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


TWO_MEANINGS: list[tuple[list[str], bytes]] = [
    (["Content-Length: 6", "Transfer-Encoding: chunked"], b"0\r\n\r\nX"),
    (["Transfer-Encoding: chunked", "Content-Length: 6"], b"0\r\n\r\nX"),
    (["Content-Length: 0", "Content-Length: 38"], HIDDEN),
    (["Content-Length: 38", "Content-Length: 0"], HIDDEN),
    (["Content-Length: 0, 38"], HIDDEN),
    (["Content-Length: +0"], HIDDEN),
    (["Content-Length: 0x0"], HIDDEN),
    (["Content-Length : 0"], HIDDEN),
    (["Content-Length: 1 0"], HIDDEN),
    (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
    (["Transfer-Encoding: xchunked"], b"0\r\n\r\n"),
    (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
    (["Transfer-Encoding: identity, chunked"], b"0\r\n\r\n"),
    (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], b"0\r\n\r\n"),
    (["Transfer-Encoding: identity"], b"0\r\n\r\n"),
    (["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n"),
    (["X: y\r\n Transfer-Encoding: chunked"], b"0\r\n\r\n" + HIDDEN),  # obs-fold
    (["Transfer-Encoding:\r\n chunked"], b"0\r\n\r\n" + HIDDEN),
    (["X: y\nTransfer-Encoding: chunked"], b"0\r\n\r\n" + HIDDEN),
    (["X: y\rTransfer-Encoding: chunked"], b"0\r\n\r\n" + HIDDEN),
    (["X: a\x00b"], b""),
    ([" X: y"], b""),
    ([": y"], b""),
    (["X y"], b""),
    (["Transfer-Encoding: chunked"], b"0x5\r\nhello\r\n0\r\n\r\n"),
    (["Transfer-Encoding: chunked"], b"5 \r\nhello\r\n0\r\n\r\n"),
    (["Transfer-Encoding: chunked"], b"-5\r\nhello\r\n0\r\n\r\n"),
    (["Transfer-Encoding: chunked"], b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    (["Transfer-Encoding: chunked"], b"5\nhello\n0\n\n"),
    (["Transfer-Encoding: chunked"], b"5\r\nhello0\r\n\r\n"),
]


async def test_a_request_of_two_meanings_is_refused_or_is_one(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        for lines, body in TWO_MEANINGS:
            world.side.heads.clear()
            answers = await world.raw(post(world, *lines, "Connection: close", body=body))
            assert len(re.findall(rb"(?m)^HTTP/1[.]", answers)) == 1, (lines, body)
            if status_of(answers) == 200:
                # What the parser allows, the job gets as one meaning: written anew, with one framing.
                (head,) = world.side.heads
                assert b"/hidden" not in head
                assert head.lower().count(b"content-length") + head.lower().count(b"transfer-encoding") <= 1
            else:
                assert (status_of(answers), world.side.heads) == (400, []), (lines, body)


async def test_what_is_behind_a_request_is_the_next_request_of_the_same_client_and_none_of_the_jobs(
    tmp_path: Path,
) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        answers = await world.raw(
            post(
                world,
                "Content-Length: 0",
                body=HIDDEN + b"GET / HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n",
            )
        )
        # The agent's own API answers them, without a token.
        assert next(line for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1")).endswith(
            b"200 OK"
        )
        assert len(world.side.heads) == 1


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.org/v1/x",
        "evil.org:80",
        "*",
        "/v1/jobs/{job}/ports/web/#x",
        "/v1/jobs/{job}/ports/web/\x80",
    ],
)
async def test_a_target_that_is_no_path_reaches_no_job(tmp_path: Path, target: str) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        request = f"GET {target.format(job=world.job)} HTTP/1.1\r\nHost: agent\r\n{world.bearer}\r\nConnection: close\r\n\r\n"
        answer = await world.raw(request.encode("latin-1"))
        assert status_of(answer) in {400, 404}
        assert not world.side.heads


async def test_an_absolute_target_is_no_way_around_the_paths(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        request = f"GET http://agent{world.base}/ HTTP/1.1\r\nHost: agent\r\n{world.bearer}\r\nConnection: close\r\n\r\n"
        assert status_of(await world.raw(request.encode())) == 400
        assert not world.side.heads


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "HTTP/2.0", "foo"])
async def test_another_upgrade_is_answered_as_if_it_were_not_there(tmp_path: Path, upgrade: str) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        lines = [
            f"Upgrade: {upgrade}",
            "Connection: Upgrade, HTTP2-Settings, close",
            "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        ]
        answer = await world.raw(post(world, *lines, "Content-Length: 0"))
        assert status_of(answer) == 200
        assert world.side.header("upgrade") == world.side.header("http2-settings") == []
        assert world.side.header("connection") == ["close"]


async def test_a_job_that_switches_the_protocol_unasked_gets_no_tunnel(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nanything"
        )
        answer = await world.ask()
        assert (status_of(answer), b"port_bad_answer" in answer) == (502, True)


BAD_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: y\r\n Set-Cookie: folded\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
]


async def test_an_answer_of_two_meanings_is_a_502_and_shows_nothing_of_itself(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        for raw in BAD_ANSWERS:
            world.side.answers(raw)
            answer = await world.ask()
            assert (status_of(answer), b"port_bad_answer" in answer) == (502, True), raw[:80]
            assert b"Set-Cookie" not in answer


async def test_a_hundred_megabytes_of_headers_are_cut_at_the_first_few_kilobytes(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        sent = 0
        ended = asyncio.Event()

        async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            try:
                writer.write(b"HTTP/1.1 200 OK\r\n")
                for _ in range(100):
                    writer.write(b"X: " + b"y" * MIB + b"\r\n")
                    await writer.drain()
                    sent += MIB
            finally:
                ended.set()

        world.side.script = flood
        answer = await world.ask()
        assert (status_of(answer), b"port_bad_answer" in answer) == (502, True)
        async with asyncio.timeout(5):
            await ended.wait()
        assert sent < 50 * MIB


async def test_a_port_that_never_answers_is_a_504_and_one_that_is_only_late_is_waited_for(
    tmp_path: Path,
) -> None:
    async with proxy_world(tmp_path, limits=replace(LONG, port_answer_seconds=0.7)) as world:
        goes_on = asyncio.Event()

        async def late(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.wait_for(goes_on.wait(), 5)
            writer.write(OK)

        world.side.script = late
        asked = asyncio.ensure_future(world.ask())
        await until(lambda: bool(world.side.heads))
        goes_on.set()
        assert status_of(await asked) == 200
        goes_on.clear()
        answer = await world.ask()
        assert (status_of(answer), b"port_silent" in answer) == (504, True)
        goes_on.set()


async def test_a_head_that_drips_is_not_waited_for_longer_than_one_that_does_not_come(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, limits=replace(LONG, port_answer_seconds=0.6)) as world:

        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not reader.at_eof():
                writer.write(b"A: b\r\n")
                await writer.drain()
                try:
                    await asyncio.wait_for(reader.read(1), 0.05)
                except TimeoutError:
                    continue

        world.side.script = drip
        assert status_of(await world.ask()) == 504


async def test_an_answer_that_falls_silent_in_its_middle_is_cut(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, limits=replace(LONG, port_idle_seconds=0.3)) as world:

        async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            await reader.read()

        world.side.script = fall_silent
        answer = await world.ask()
        assert status_of(answer) == 200
        assert not answer.endswith(b"0\r\n\r\n")


async def test_a_token_has_only_so_many_requests_on_their_way_and_its_other_streams_are_its_own(
    tmp_path: Path,
) -> None:
    async with proxy_world(tmp_path, limits=replace(LONG, streams_per_token=2)) as world:

        async def never(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.read()

        world.side.script = never
        held = [await world.connect() for _ in range(2)]
        for _, writer in held:
            writer.write(f"GET {world.base}/ HTTP/1.1\r\nHost: agent\r\n{world.bearer}\r\n\r\n".encode())
        await until(lambda: len(world.side.heads) == 2)
        reply = await world.api.call("GET", f"{world.base}/")
        assert (reply.status, reply.json["code"]) == (429, "too_many_streams")
        assert (await world.api.call("GET", f"/v1/jobs/{world.job}?wait=finished&timeout=0")).status == 200
        for _, writer in held:
            writer.transport.abort()
