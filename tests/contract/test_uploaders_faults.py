"""Endpoints and networks that fail, by each protocol: what is told, whether it may pass, and when it may be tried again."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from agent.adapters.outgoing import OutgoingClient
from agent.adapters.uploads import UploadDeliveries, Waits
from agent.core.delivery import Answer, Failure, Sent
from agent.core.outgoing import OutgoingRules
from agent.interfaces import Delivery, Offered
from agent.spec import Upload, UploadTo
from tests.contract.faulty_endpoint import (
    Behaviour,
    Conversation,
    Endpoint,
    after,
    answer,
    conversing,
    hang,
    hang_after_headers,
    make_certificate,
    reset,
    say_body_without_end,
    serving,
    take_all,
    take_in_steps,
)
from tests.contract.outgoing_world import client, found, names
from tests.contract.strict_endpoint import Request, answer_json
from tests.contract.upload_values import File, KeptPlaces, ended_job
from tests.contract.upload_ways import is_known, to
from tests.contract.upload_worlds import ChutesWorld, PresignWorld, PutWorld, TusWorld, set_up

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow

MIB = 1 << 20
WAITS = Waits(ask=0.3, step=0.3)
LARGE = File("large", b"x" * 24 * MIB)


@dataclass
class Faulty:
    endpoint: Endpoint
    delivery: Delivery


@asynccontextmanager
async def leading(protocol: str, converse: Conversation, outgoing: OutgoingClient) -> AsyncIterator[Faulty]:
    """A delivery whose questions are answered well, and whose files go to an endpoint that behaves so."""
    async with AsyncExitStack() as stack:
        with_questions = tus_before(converse) if protocol == "tus" else converse
        endpoint = await stack.enter_async_context(conversing(with_questions))
        url = f"http://127.0.0.1:{endpoint.port}/f"
        upload = await stack.enter_async_context(leads_to(protocol, url))
        deliveries = UploadDeliveries(outgoing, WAITS)
        opened = deliveries.open(ended_job(), upload, KeptPlaces())
        delivery = await stack.enter_async_context(opened)
        assert await delivery.begin([Offered("large", len(LARGE.data))]) == Sent()
        yield Faulty(endpoint, delivery)


@asynccontextmanager
async def leads_to(protocol: str, url: str) -> AsyncIterator[Upload]:
    world: PresignWorld | ChutesWorld
    if protocol == "put":
        yield Upload(to=UploadTo.PUT, url=url + "/{path}")
    elif protocol == "presign":
        world = PresignWorld(before=lambda _request: answer_json({"urls": {"large": url}}))
        async with set_up(world):
            yield world.upload
    elif protocol == "chutes":
        world = ChutesWorld(reply=lambda: answer_json({"output_storage_urls": {"large": url}}))
        async with set_up(world):
            yield world.upload
    else:
        yield Upload(to=UploadTo.TUS, url=url)


def tus_before(converse: Conversation) -> Conversation:
    """Tells of itself and creates; then the connection of the PATCH is led by `converse`."""

    async def lead(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"PATCH"):
                pushed = asyncio.StreamReader(limit=8192)
                pushed.feed_data(head)
                await converse(endpoint, Again(head, reader), writer)
                return
            status = 204 if head.startswith(b"OPTIONS") else 201
            await answer(status, "Location: /place")(writer)

    return lead


class Again(asyncio.StreamReader):
    """A reader of which a head was read already, and is read again."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._head = head
        self._rest = reader

    async def readuntil(self, separator: bytes = b"\n") -> bytes:  # type: ignore[override] # a tuple of them is not used here
        head, self._head = self._head, b""
        return head or await self._rest.readuntil(separator)

    async def readexactly(self, n: int) -> bytes:
        return await self._rest.readexactly(n)

    async def read(self, n: int = -1) -> bytes:
        return await self._rest.read(n)


Send = Callable[[Conversation], Awaitable[Answer]]


@pytest.fixture(params=["put", "presign", "chutes", "tus"])
def send(request: pytest.FixtureRequest) -> Send:
    """Sends a large file to an endpoint that behaves so."""

    async def run(converse: Conversation) -> Answer:
        async with client() as outgoing, leading(request.param, converse, outgoing) as faulty:
            return await faulty.delivery.send(LARGE)

    return run


def is_failure(outcome: Answer, code: str, *, passing: bool) -> bool:
    return is_known(outcome, code) and isinstance(outcome, Failure) and outcome.is_passing is passing


@pytest.mark.parametrize("body_bytes", [0, 10_000, 2 * MIB])
async def test_an_endpoint_that_resets_in_mid_body(send: Send, body_bytes: int) -> None:
    assert is_failure(await send(after(body_bytes, reset)), "reply_broken", passing=True)


async def test_an_endpoint_that_takes_a_kilobyte_now_and_then(send: Send) -> None:
    began = time.monotonic()
    assert is_failure(await send(take_in_steps(1024, 0.1)), "too_slow", passing=True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "behave", [hang, hang_after_headers], ids=["silent", "after the headers of a refusal"]
)
async def test_an_endpoint_that_hangs(send: Send, behave: Behaviour) -> None:
    """The status alone counts, so that after the headers of a success, in time, it is one."""
    if behave is hang:
        assert is_failure(await send(after(len(LARGE.data), hang)), "too_slow", passing=True)
    assert is_failure(await send(after(10_000, behave)), "too_slow" if behave is hang else "reply_broken", passing=True)  # fmt: skip


async def test_a_success_before_the_file_ended_is_none(send: Send) -> None:
    early = answer(200, f"Upload-Offset: {len(LARGE.data)}")
    assert is_failure(await send(after(10_000, early)), "reply_broken", passing=True)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408, 425])
async def test_what_passes_is_told_with_when_to_come_again(send: Send, status: int) -> None:
    """Before the file has ended, as a server under load does it."""

    async def refuse(writer: asyncio.StreamWriter) -> None:
        await answer(status, "Retry-After: Wed, 21 Oct 2099 07:28:00 GMT")(writer)
        await hang(writer)

    outcome = await send(after(10_000, refuse))
    wanted = Failure("status_failed", True, status, "Wed, 21 Oct 2099 07:28:00 GMT")  # noqa: FBT003 - as it is compared
    assert outcome == wanted


async def test_a_redirect_to_another_host_is_not_followed(send: Send) -> None:
    async with serving(answer(200)) as other:
        to_it = answer(307, f"Location: http://127.0.0.1:{other.port}/")

        async def redirect(writer: asyncio.StreamWriter) -> None:
            await to_it(writer)
            await hang(writer)

        outcome = await send(after(10_000, redirect))
    assert is_failure(outcome, "redirected", passing=False)
    assert other.connections == 0


async def test_a_reply_without_end_costs_nothing(send: Send) -> None:
    began = time.monotonic()
    outcome = await send(after(len(LARGE.data), say_body_without_end))
    assert outcome == Sent() or is_known(outcome, "tus_broken")  # which wants an offset in its answer
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("protocol", ["put", "presign", "chutes", "tus"])
async def test_an_endpoint_that_fails_for_a_while_has_the_file_in_the_end(protocol: str) -> None:
    failures = 3

    async def fail(endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            await after(10_000, answer(500))(endpoint, reader, writer)
        elif protocol == "tus":
            await after(len(LARGE.data), answer(204, f"Upload-Offset: {len(LARGE.data)}"))(endpoint, reader, writer)  # fmt: skip
        else:
            await take_all(endpoint, reader, writer)

    answers: list[Answer] = []
    async with client() as outgoing, leading(protocol, fail, outgoing) as faulty:
        while not answers or answers[-1] != Sent():
            # A place of tus is asked for with HEAD, which this endpoint takes for a creation: so without one.
            if protocol == "tus":
                faulty.delivery._places.kept.clear()  # type: ignore[attr-defined] # KeptPlaces of this file
            answers.append(await faulty.delivery.send(LARGE))
            assert len(answers) < 10
    assert [isinstance(one, Failure) and one.is_passing for one in answers] == [True, True, True, False]


@pytest.mark.parametrize("protocol", ["put", "presign", "chutes", "tus"])
async def test_an_endpoint_where_nobody_listens(protocol: str) -> None:
    async with serving(answer(200)) as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}"
    upload = {
        "put": Upload(to=UploadTo.PUT, url=url + "/{path}"),
        "presign": Upload(to=UploadTo.PUT, presign=url),
        "chutes": Upload(to=UploadTo.CHUTES, status_url=url),
        "tus": Upload(to=UploadTo.TUS, url=url),
    }[protocol]
    assert is_failure(await first_failure(upload), "connect_failed", passing=True)


async def first_failure(upload: Upload, outgoing: OutgoingClient | None = None) -> Answer:
    """Of begin, or of a file."""
    async with client() as made:
        deliveries = UploadDeliveries(outgoing or made, WAITS)
        async with deliveries.open(ended_job(), upload, KeptPlaces()) as delivery:
            begun = await delivery.begin([Offered("a", 7)])
            return begun if isinstance(begun, Failure) else await delivery.send(File("a"))


QUESTIONS = {
    "presign": lambda url: Upload(to=UploadTo.PUT, presign=url),
    "chutes": lambda url: Upload(to=UploadTo.CHUTES, status_url=url),
    "tus": lambda url: Upload(to=UploadTo.TUS, url=url),
}


@pytest.mark.parametrize("question", list(QUESTIONS))
@pytest.mark.parametrize(
    ("behave", "code", "passing"),
    [
        (reset, "reply_broken", True),
        (hang, "too_slow", True),
        (answer(500), "status_failed", True),
        (answer(429, "Retry-After: 7"), "status_failed", True),
    ],
    ids=["reset", "hang", "500", "429"],
)
async def test_a_question_that_fails(question: str, behave: Behaviour, code: str, *, passing: bool) -> None:
    async with serving(behave) as endpoint:
        outcome = await first_failure(QUESTIONS[question](f"http://127.0.0.1:{endpoint.port}/"))
    assert is_failure(outcome, code, passing=passing)


@pytest.mark.parametrize("question", ["presign", "chutes"])
@pytest.mark.parametrize("behave", [hang_after_headers, say_body_without_end], ids=["hangs", "without end"])
async def test_an_answer_to_a_question_is_read_in_its_time_and_to_its_cap(
    question: str, behave: Behaviour
) -> None:
    began = time.monotonic()
    async with serving(behave) as endpoint:
        outcome = await first_failure(QUESTIONS[question](f"http://127.0.0.1:{endpoint.port}/"))
    assert isinstance(outcome, Failure)
    assert outcome.code in {"too_slow", "grant_broken"}
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("question", list(QUESTIONS))
async def test_a_question_that_is_redirected_is_not_asked_elsewhere(question: str) -> None:
    async with serving(answer(200)) as other:
        to_it = f"Location: http://127.0.0.1:{other.port}/"
        async with serving(answer(307, to_it)) as endpoint:
            outcome = await first_failure(QUESTIONS[question](f"http://127.0.0.1:{endpoint.port}/"))
    assert is_failure(outcome, "redirected", passing=False)
    assert other.connections == 0


async def test_a_certificate_of_another_name(tmp_path: Path) -> None:
    file = make_certificate(tmp_path, "other.example.org")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(file)
    look_up, _ = names(found("127.0.0.1"))
    trust = ssl.create_default_context(cafile=str(file))
    async with serving(answer(200), served) as endpoint, client(look_up=look_up, tls=trust) as outgoing:
        upload = Upload(to=UploadTo.PUT, url=f"https://store.example.org:{endpoint.port}/{{path}}")
        assert is_failure(await first_failure(upload, outgoing), "tls_failed", passing=True)
        assert endpoint.requests == []


async def test_a_name_that_is_public_and_then_is_not() -> None:
    rules = OutgoingRules(allow_http=True, networks=(ip_network("127.0.0.1/32"),))
    look_up, asked = names(found("127.0.0.1"), found("10.0.0.1"))
    async with serving(answer(200)) as endpoint, client(rules, look_up) as outgoing:
        upload = Upload(to=UploadTo.PUT, url=f"http://store.example.org:{endpoint.port}/{{path}}")
        deliveries = UploadDeliveries(outgoing, WAITS)
        async with deliveries.open(ended_job(), upload, KeptPlaces()) as delivery:
            assert await delivery.send(File("a")) == Sent()
            await asyncio.sleep(0.05)  # until the endpoint's end of the connection has come over
            outcome = await delivery.send(File("b"))
    assert is_failure(outcome, "address_refused", passing=False)
    assert len(asked) == 2
    assert endpoint.connections == 1


async def test_connections_are_kept_for_a_job_and_for_no_other() -> None:
    async with conversing(take_all) as endpoint, client() as outgoing:
        upload = Upload(to=UploadTo.PUT, url=f"http://127.0.0.1:{endpoint.port}/{{path}}")
        deliveries = UploadDeliveries(outgoing, WAITS)
        for _ in range(2):
            async with deliveries.open(ended_job(), upload, KeptPlaces()) as delivery:
                assert [await delivery.send(File(name)) for name in "abc"] == [Sent()] * 3
    assert endpoint.connections == 2


async def test_a_name_that_has_no_address() -> None:
    look_up, _ = names(OSError("no such name"))
    async with client(look_up=look_up) as outgoing:
        upload = Upload(to=UploadTo.PUT, url="http://nowhere.example.org/{path}")
        assert is_failure(await first_failure(upload, outgoing), "name_unknown", passing=True)


async def test_a_chunk_that_broke_off_is_gone_on_with_where_the_endpoint_is() -> None:
    """It kept a part of it, which a HEAD tells."""
    world = TusWorld()
    file = File("a", b"abcdef" * 100)

    def break_once(request: Request) -> web.Response | None:
        if request.method == "PATCH" and request.headers["upload-offset"] == "0":
            ((key, (size, path, _)),) = world.places.items()
            world.places[key] = (size, path, request.body[:250])
            return web.Response(status=504)
        return None

    async with to(world) as way:
        world.before = break_once
        async with way.opened([file]) as delivery:
            assert is_failure(await delivery.send(file), "status_failed", passing=True)
            assert await delivery.send(file) == Sent()
        assert await world.files() == {"a": file.data}
    assert file.asked == [(0, 600), (250, 350)]


async def test_what_an_endpoint_says_is_in_no_detail() -> None:
    """Its headers may repeat a secret of the URL."""
    world = PutWorld(before=lambda _request: web.Response(status=400, text="hush", headers={"X": "hush"}))
    async with to(world) as way:
        (outcome,) = await way.send(File("a"))
    assert "hush" not in repr(outcome)
