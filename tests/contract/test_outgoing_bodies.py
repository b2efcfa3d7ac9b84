"""Bodies in pieces, and connections that are kept: what the client and its fake promise, and what an endpoint may do in mid-body."""

import asyncio
import ssl
import sys
import time
import tracemalloc
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from agent.adapters.outgoing.pieces import Pieces
from agent.core.outgoing import OutgoingRules, Reply, SendTrouble, Unsent
from agent.interfaces import Body, Outgoing, OutgoingRequest, OutputChangedError
from agent.spec import read_url
from tests.contract.faulty_endpoint import (
    Conversation,
    Endpoint,
    after,
    answer,
    conversing,
    drip,
    hang,
    make_certificate,
    read_request,
    reset,
    say,
    serving,
    take_all,
    take_in_steps,
)
from tests.contract.outgoing_world import client, found, names
from tests.fakes.outgoing import FakeOutgoing

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow

MIB = 1 << 20


@dataclass
class Made:
    """A body out of `parts`; then it raises, if it has an error. `read`: how many of them were asked for."""

    parts: list[bytes]
    size_bytes: int = -1
    error: Exception | None = None
    read: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    pause_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.size_bytes < 0:
            self.size_bytes = sum(map(len, self.parts))

    async def pieces(self) -> AsyncGenerator[bytes]:
        try:
            for part in self.parts:
                self.read += 1
                await asyncio.sleep(self.pause_seconds)
                yield part
            if self.error is not None:
                raise self.error
        finally:
            self.closed.set()


def put(
    port: int, body: bytes | Body, seconds: float = 5.0, scheme: str = "http", host: str = "127.0.0.1"
) -> OutgoingRequest:
    return OutgoingRequest("PUT", read_url(f"{scheme}://{host}:{port}/f"), {"X": "y"}, body, seconds)


async def send(converse: Conversation, body: bytes | Body, seconds: float = 5.0) -> Reply | Unsent:
    async with conversing(converse) as endpoint, client() as made:
        return await made.send(put(endpoint.port, body, seconds))


def is_trouble(outcome: Reply | Unsent, trouble: SendTrouble) -> bool:
    return isinstance(outcome, Unsent) and outcome.trouble is trouble


# What the fake promises as well.


@dataclass
class Ways:
    """A way out, the port that it leads to, and the bodies that arrived there."""

    outgoing: Outgoing
    port: int
    bodies: Callable[[], list[bytes]]
    is_over: Callable[[], Awaitable[None]]


@pytest.fixture(params=["fake", "real"])
async def ways(request: pytest.FixtureRequest) -> AsyncIterator[Ways]:
    if request.param == "fake":
        fake = FakeOutgoing()

        async def take(_request: OutgoingRequest) -> Reply | Unsent:
            return Reply(200)

        fake.default = take

        async def is_over() -> None:
            return

        bodies = lambda: [sent.body for sent in fake.requests if isinstance(sent.body, bytes)]  # noqa: E731 - one use
        yield Ways(fake, 1, bodies, is_over)
        return
    async with conversing(take_all) as endpoint, client() as made:
        yield Ways(
            made,
            endpoint.port,
            lambda: [sent.partition(b"\r\n\r\n")[2] for sent in endpoint.requests],
            endpoint.are_all_over,
        )


@pytest.mark.parametrize(
    "parts",
    [[], [b""], [b"abc"], [b"a", b"", b"bc"], [b"x" * MIB, b"y" * (MIB + 1)], [bytes(range(256)) * 5000]],
    ids=["none", "empty", "one", "three", "large", "not a whole slice"],
)
async def test_a_body_arrives_as_its_pieces_are_together(ways: Ways, parts: list[bytes]) -> None:
    assert await ways.outgoing.send(put(ways.port, Made(parts))) == Reply(200)
    assert ways.bodies() == [b"".join(parts)]


async def test_what_a_body_raises_comes_out_of_send_and_is_no_whole_request(ways: Ways) -> None:
    body = Made([b"a" * MIB, b"b"], error=OutputChangedError("model.bin"))
    with pytest.raises(OutputChangedError):
        await ways.outgoing.send(put(ways.port, body))
    await ways.is_over()
    assert ways.bodies() == []


@pytest.mark.parametrize("told", [0, 2, 4, 3 * MIB])
async def test_a_body_of_another_size_than_it_was_said_to_have_is_an_error_and_never_arrives(
    ways: Ways, told: int
) -> None:
    with pytest.raises(ValueError, match="a body of"):
        await ways.outgoing.send(put(ways.port, Made([b"a", b"bc"], size_bytes=told)))
    await ways.is_over()
    assert ways.bodies() == []


async def test_a_session_sends_one_request_after_the_other(ways: Ways) -> None:
    async with ways.outgoing.session() as session:
        for number in range(3):
            assert await session.send(put(ways.port, Made([b"%d" % number]))) == Reply(200)
    assert ways.bodies() == [b"0", b"1", b"2"]


# What leaves


@pytest.mark.parametrize("body", [b"abc", Made([b"a", b"bc"])], ids=["bytes", "pieces"])
async def test_the_length_is_told_and_nothing_is_chunked(body: bytes | Body) -> None:
    async with conversing(take_all) as endpoint, client() as made:
        assert await made.send(put(endpoint.port, body)) == Reply(200)
    head = endpoint.requests[0].partition(b"\r\n\r\n")[0].lower()
    assert b"\r\ncontent-length: 3\r\n" in head
    assert b"transfer-encoding" not in head


async def test_a_body_in_pieces_goes_over_tls_too(tmp_path: Path) -> None:
    file = make_certificate(tmp_path, "store.example.org")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(file)
    look_up, _ = names(found("127.0.0.1"))
    trust = ssl.create_default_context(cafile=str(file))
    body = Made([b"z" * MIB] * 3)
    async with conversing(take_all, served) as endpoint, client(look_up=look_up, tls=trust) as made:
        sent = await made.send(put(endpoint.port, body, scheme="https", host="store.example.org"))
    assert sent == Reply(200)
    assert endpoint.requests[0].endswith(b"\r\n\r\n" + b"z" * 3 * MIB)


# How long it may take


@pytest.mark.parametrize("behave", [hang, drip], ids=["silent", "dripping an answer"])
async def test_an_endpoint_that_stalls_in_mid_body_is_left_after_the_seconds(
    behave: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> None:
    began = time.monotonic()
    body = Made([b"x" * MIB] * 64)
    assert is_trouble(await send(after(10_000, behave), body, seconds=0.3), SendTrouble.TOO_SLOW)
    assert 0.29 < time.monotonic() - began < 3
    assert body.read < 16
    assert body.closed.is_set()


async def test_an_endpoint_that_takes_less_than_a_slice_in_the_seconds_is_left() -> None:
    began = time.monotonic()
    outcome = await send(take_in_steps(4096, 0.05), Made([b"x" * MIB] * 64), seconds=0.4)
    assert is_trouble(outcome, SendTrouble.TOO_SLOW)
    assert time.monotonic() - began < 5


@pytest.mark.slow
async def test_a_slow_endpoint_that_moves_is_waited_for() -> None:
    began = time.monotonic()
    assert await send(take_in_steps(65_536, 0.02), Made([b"x" * MIB] * 4), seconds=0.5) == Reply(200)
    assert time.monotonic() - began > 1.0


async def test_the_time_that_the_body_itself_takes_is_not_the_endpoints() -> None:
    body = Made([b"x" * 1000] * 3, pause_seconds=0.25)
    assert await send(take_all, body, seconds=0.2) == Reply(200)


async def test_the_answer_has_its_own_seconds_after_the_body() -> None:
    async def late(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint.requests.append(await read_request(reader))
        await asyncio.sleep(0.2)
        await answer(200)(writer)

    assert await send(late, Made([b"x" * 1000], pause_seconds=0.2), seconds=0.3) == Reply(200)
    outcome = await send(after(MIB, hang), Made([b"x" * MIB]), seconds=0.2)
    assert is_trouble(outcome, SendTrouble.TOO_SLOW)


async def test_a_body_of_bytes_has_its_seconds_for_all() -> None:
    outcome = await send(take_in_steps(65_536, 0.05), b"x" * 16 * MIB, seconds=0.3)
    assert is_trouble(outcome, SendTrouble.TOO_SLOW)


# Answers before the end, and ends without an answer


@pytest.mark.parametrize("behave", [answer(200), answer(204)])
async def test_a_success_before_the_body_ended_is_none(
    behave: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> None:
    body = Made([b"x" * MIB] * 64)
    assert is_trouble(await send(after(1000, behave), body), SendTrouble.REPLY_BROKEN)
    assert body.closed.is_set()


@pytest.mark.parametrize("status", [307, 400, 403, 413, 429, 503])
async def test_a_refusal_before_the_body_ended_is_that_answer(status: int) -> None:
    async def refuse(writer: asyncio.StreamWriter) -> None:
        await answer(status, "Retry-After: 7")(writer)
        await hang(writer)

    body = Made([b"x" * MIB] * 64)
    assert await send(after(1000, refuse), body) == Reply(status, "7")
    assert body.closed.is_set()


REFUSES_AND_CLOSES = """
import socket
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        while b"\\r\\n\\r\\n" not in connection.recv(65_536):
            continue
        connection.sendall(b"HTTP/1.1 403 No\\r\\nContent-Length: 0\\r\\n\\r\\n")
        connection.close()
"""


async def test_a_refusal_is_heard_also_of_an_endpoint_that_closes_at_once() -> None:
    """With bytes of the body unread, so that the connection is reset. What comes just as the next bytes leave is still lost."""
    endpoint = await asyncio.create_subprocess_exec(sys.executable, "-c", REFUSES_AND_CLOSES, stdout=PIPE)
    try:
        assert endpoint.stdout is not None
        port = int(await endpoint.stdout.readline())
        async with client() as made:
            outcomes = [await made.send(put(port, Made([b"x" * MIB] * 16))) for _ in range(30)]
    finally:
        endpoint.kill()
        await endpoint.wait()
    assert outcomes.count(Reply(403)) > 20


async def test_an_early_refusal_ends_the_body_whatever_the_rest_of_it_would_take() -> None:
    began = time.monotonic()
    body = Made([b"x" * 1000] * 100, pause_seconds=0.2)

    async def refuse(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(403)(writer)
        await hang(writer)

    assert await send(refuse, body) == Reply(403)
    assert time.monotonic() - began < 3


async def test_the_seconds_of_an_early_answer_are_not_moved_by_the_body() -> None:
    async def drip_refusal(
        endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await say(b"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nabc")(writer)
        await reader.read()

    began = time.monotonic()
    body = Made([b"x" * 1000] * 100, pause_seconds=0.05)
    async with conversing(drip_refusal) as endpoint, client() as made:
        outcome = await made.send(replace(put(endpoint.port, body, seconds=0.3), most_body_bytes=100))
    assert is_trouble(outcome, SendTrouble.TOO_SLOW)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("body_bytes", [0, 1000, 300_000])
async def test_a_reset_in_mid_body_is_no_answer(body_bytes: int) -> None:
    outcome = await send(after(body_bytes, reset), Made([b"x" * MIB] * 64))
    assert is_trouble(outcome, SendTrouble.REPLY_BROKEN)


async def test_what_is_no_http_in_mid_body() -> None:
    outcome = await send(after(1000, say(b"220 smtp\r\n\r\n")), Made([b"x" * MIB] * 64))
    assert is_trouble(outcome, SendTrouble.REPLY_BROKEN)


async def test_nothing_is_read_of_a_body_that_can_not_be_sent() -> None:
    async with serving(answer(200)) as endpoint:
        port = endpoint.port
    body = Made([b"x"])
    async with client() as made:
        assert is_trouble(await made.send(put(port, body)), SendTrouble.CONNECT_FAILED)
    async with client(OutgoingRules(allow_http=True)) as made:
        assert is_trouble(await made.send(put(port, body)), SendTrouble.ADDRESS_REFUSED)
    assert body.read == 0


@pytest.mark.parametrize("body", [b"x" * 64 * MIB, Made([b"x" * MIB] * 64)], ids=["bytes", "pieces"])
@pytest.mark.parametrize("leave", ["cancelled", "too slow"])
async def test_a_connection_that_is_given_up_in_mid_body_is_closed_at_once(
    body: bytes | Body, leave: str
) -> None:
    """Also one whose other side takes nothing: what was handed over is not waited for."""

    async def stall(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint.requests.append(await reader.readuntil(b"\r\n\r\n"))
        await hang(writer)

    async with conversing(stall) as endpoint, client() as made, asyncio.timeout(5):
        before = open_sockets()
        task = asyncio.ensure_future(made.send(put(endpoint.port, body, 30 if leave == "cancelled" else 0.3)))
        while not endpoint.requests:
            await asyncio.sleep(0.01)
        assert open_sockets() == before + 2
        if leave == "cancelled":
            await asyncio.sleep(0.1)  # until the connection takes no more
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            assert is_trouble(await task, SendTrouble.TOO_SLOW)
        while open_sockets() != before + 1:  # the endpoint's own
            await asyncio.sleep(0.01)
    assert not isinstance(body, Made) or body.closed.is_set()


def open_sockets() -> int:
    """Of this process."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            links.append(str(link.readlink()))
    return sum(link.startswith("socket:") for link in links)


async def test_what_an_endpoint_does_not_take_is_not_taken_by_the_kernel_in_its_place() -> None:
    body = Made([b"x" * 64_000] * 1000)
    assert is_trouble(await send(after(0, hang), body, seconds=0.3), SendTrouble.TOO_SLOW)
    assert body.read * 64_000 < 2 * MIB


async def test_an_answer_waits_for_what_is_just_being_handed_over() -> None:
    class Held(AbstractStreamWriter):
        def __init__(self) -> None:
            self.began, self.may_go = asyncio.Event(), asyncio.Event()

        async def write(self, chunk: bytes | bytearray | memoryview) -> None:
            self.began.set()
            await self.may_go.wait()

        async def write_eof(self, chunk: bytes = b"") -> None: ...

        async def drain(self) -> None: ...

        def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None: ...

        def enable_chunking(self) -> None: ...

        async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None: ...

    writer = Held()
    pieces = Pieces(Made([b"abc"]), 5.0, None)
    writing = asyncio.ensure_future(pieces.write(writer))
    await writer.began.wait()
    answered = asyncio.ensure_future(pieces.answered())
    await asyncio.sleep(0.01)
    assert not answered.done()
    writer.may_go.set()
    assert await answered
    await writing


# Connections


async def test_a_session_uses_its_connection_again_and_send_never_does() -> None:
    async with conversing(take_all) as endpoint, client() as made:
        async with made.session() as session:
            for _ in range(3):
                await session.send(put(endpoint.port, Made([b"x" * MIB])))
        assert endpoint.connections == 1
        for _ in range(3):
            await made.send(put(endpoint.port, Made([b"x"])))
        assert endpoint.connections == 4


async def test_no_session_uses_the_connection_of_another() -> None:
    async with conversing(take_all) as endpoint, client() as made:
        for _ in range(2):
            async with made.session() as session:
                await session.send(put(endpoint.port, Made([b"x"])))
        async with made.session() as one, made.session() as other:
            await one.send(put(endpoint.port, Made([b"x"])))
            await other.send(put(endpoint.port, Made([b"x"])))
    assert endpoint.connections == 4


async def test_each_connection_of_a_session_is_checked_when_it_is_opened() -> None:
    rules = OutgoingRules(allow_http=True, networks=(ip_network("127.0.0.1/32"),))
    look_up, asked = names(found("127.0.0.1"), found("127.0.0.2"))
    is_busy, may_go = asyncio.Event(), asyncio.Event()

    async def busy(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        is_busy.set()
        await may_go.wait()
        await answer(200)(writer)

    async with conversing(busy) as endpoint, client(rules, look_up) as made, made.session() as session:
        request = put(endpoint.port, Made([b"x"]), host="rebind.example.org")
        first = asyncio.ensure_future(session.send(request))
        await is_busy.wait()
        second = await session.send(put(endpoint.port, Made([b"x"]), host="rebind.example.org"))
        may_go.set()
        assert await first == Reply(200)
    assert is_trouble(second, SendTrouble.ADDRESS_REFUSED)
    assert len(asked) == 2
    assert endpoint.connections == 1


@pytest.mark.parametrize("method", ["PUT", "HEAD", "POST"])
@pytest.mark.parametrize("body", [b"", b"abc", Made([b"abc"])], ids=["no body", "bytes", "pieces"])
async def test_a_broken_connection_is_told_and_nothing_is_sent_again_in_silence(
    method: str, body: bytes | Body
) -> None:
    """Neither on a connection of its own, nor on one that was used before."""

    async def once(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint.requests.append(await read_request(reader))
        await answer(200)(writer)
        endpoint.requests.append(await read_request(reader))
        writer.transport.abort()

    async with serving(reset) as endpoint, client() as made:
        request = OutgoingRequest(method, read_url(f"http://127.0.0.1:{endpoint.port}/"), {}, body, 5.0)
        assert is_trouble(await made.send(request), SendTrouble.REPLY_BROKEN)
        assert endpoint.connections == 1
    async with conversing(once) as endpoint, client() as made, made.session() as session:
        assert await session.send(put(endpoint.port, b"first")) == Reply(200)
        request = OutgoingRequest(method, read_url(f"http://127.0.0.1:{endpoint.port}/"), {}, body, 5.0)
        assert is_trouble(await session.send(request), SendTrouble.REPLY_BROKEN)
        assert (endpoint.connections, len(endpoint.requests)) == (1, 2)


async def test_a_connection_that_the_endpoint_closed_meanwhile_is_not_used() -> None:
    async def once(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint.requests.append(await read_request(reader))
        await answer(200)(writer)

    async with conversing(once) as endpoint, client() as made, made.session() as session:
        for _ in range(3):
            assert await session.send(put(endpoint.port, Made([b"x"]))) == Reply(200)
            await asyncio.sleep(0.05)  # until the end of the connection has come over
    assert endpoint.connections == 3


async def test_a_session_goes_on_after_a_request_that_broke() -> None:
    async with conversing(take_all) as endpoint, client() as made, made.session() as session:
        with pytest.raises(OutputChangedError):
            await session.send(put(endpoint.port, Made([b"x" * MIB] * 3, error=OutputChangedError("a"))))
        assert await session.send(put(endpoint.port, Made([b"y"]))) == Reply(200)
    assert [sent.partition(b"\r\n\r\n")[2] for sent in endpoint.requests] == [b"y"]


# Memory


@pytest.mark.slow
async def test_memory_is_the_same_whatever_the_size() -> None:
    @dataclass
    class Large:
        size_bytes: int = 128 * MIB

        async def pieces(self) -> AsyncGenerator[bytes]:
            for number in range(128):
                yield bytes([number]) * MIB

    tracemalloc.start()
    try:
        assert await send(take_in_steps(MIB, 0), Large()) == Reply(200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB
