"""Requests to URLs of users: the guard at each connection, and what a hostile endpoint may do. Real sockets on loopback."""

import asyncio
import gzip
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.adapters.outgoing import OutgoingClient
from agent.adapters.outgoing.own import own_addresses
from agent.adapters.outgoing.resolver import MOST_TRIED, CheckedResolver, Found
from agent.core.outgoing import OutgoingRules, Reply, SendTrouble, Unsent
from agent.interfaces import Outgoing, OutgoingRequest
from agent.spec import read_url
from tests.contract.faulty_endpoint import (
    Behaviour,
    Endpoint,
    answer,
    drip,
    hang,
    hang_after_headers,
    make_certificate,
    reset,
    say,
    say_body_without_end,
    say_headers_without_end,
    serving,
)
from tests.contract.outgoing_world import LOOPBACK, client, found, names
from tests.fakes.outgoing import FakeOutgoing

BODY = b'{"a": 1}'


def post(url: str, seconds: float = 5.0, most: int = 0) -> OutgoingRequest:
    return OutgoingRequest("POST", read_url(url), {"webhook-id": "x"}, BODY, seconds, most)


async def send(behave: Behaviour, seconds: float = 5.0, most: int = 0) -> Reply | Unsent:
    async with serving(behave) as endpoint, client() as made:
        return await made.send(post(f"http://127.0.0.1:{endpoint.port}/", seconds, most))


# What the fake promises as well.

Act = Callable[[Outgoing, str], Awaitable[None]]


@pytest.fixture(params=["fake", "real"])
def on_both(request: pytest.FixtureRequest) -> Callable[[Reply | None, Act], Awaitable[None]]:
    """Runs `act` with an endpoint that answers so; None: that never does."""

    async def run(reply: Reply | None, act: Act) -> None:
        if request.param == "fake":
            fake = FakeOutgoing()

            async def behave(_request: OutgoingRequest) -> Reply | Unsent:
                if reply is None:
                    await asyncio.Event().wait()
                assert reply is not None
                return reply

            fake.default = behave
            await act(fake, "http://127.0.0.1:1/")
            return
        headers = [] if reply is None or reply.retry_after is None else [f"Retry-After: {reply.retry_after}"]
        behaviour = hang if reply is None else answer(reply.status, *headers)
        async with serving(behaviour) as endpoint, client() as made:
            await act(made, f"http://127.0.0.1:{endpoint.port}/")

    return run


OnBoth = Callable[[Reply | None, Act], Awaitable[None]]


@pytest.mark.parametrize("reply", [Reply(204), Reply(410), Reply(503, retry_after="7"), Reply(307)], ids=str)
async def test_an_answer_is_a_value_whatever_it_says(on_both: OnBoth, reply: Reply) -> None:
    async def act(outgoing: Outgoing, url: str) -> None:
        assert await outgoing.send(post(url)) == reply

    await on_both(reply, act)


async def test_no_answer_in_time_is_a_value_too(on_both: OnBoth) -> None:
    async def act(outgoing: Outgoing, url: str) -> None:
        outcome = await outgoing.send(post(url, seconds=0.2))
        assert isinstance(outcome, Unsent)
        assert outcome.trouble is SendTrouble.TOO_SLOW

    await on_both(None, act)


@pytest.mark.parametrize("header", ["Host", "content-length", "TRANSFER-ENCODING"])
async def test_no_user_frames_a_request(on_both: OnBoth, header: str) -> None:
    async def act(outgoing: Outgoing, url: str) -> None:
        with pytest.raises(ValueError, match="not a user's"):
            await outgoing.send(replace(post(url), headers={header: "1"}))

    await on_both(Reply(200), act)


# What leaves


async def test_the_request_arrives_as_it_was_given() -> None:
    async with serving(answer(200)) as endpoint, client() as made:
        url = f"http://127.0.0.1:{endpoint.port}/a%2Fb/../c?d=e%20f"
        assert await made.send(post(url)) == Reply(200)
    head, _, body = endpoint.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a%2Fb/../c?d=e%20f HTTP/1.1"
    assert f"Host: 127.0.0.1:{endpoint.port}" in lines
    assert "User-Agent: gpu-agent/test" in lines
    assert "webhook-id: x" in lines
    assert body == BODY


async def test_nothing_out_of_the_environment_or_an_earlier_answer_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with serving(answer(200)) as proxy, serving(answer(200, "Set-Cookie: a=b")) as endpoint:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        async with client() as made:
            for _ in range(2):
                await made.send(post(f"http://127.0.0.1:{endpoint.port}/"))
    assert proxy.connections == 0
    assert len(endpoint.requests) == 2
    assert not any(
        word in request.lower() for word in (b"cookie", b"authorization") for request in endpoint.requests
    )


# The guard


async def test_the_checked_address_is_connected_to_and_the_name_is_asked_for_once() -> None:
    ask, asked = names(found("127.0.0.1"))
    async with serving(answer(200)) as endpoint, client(look_up=ask) as made:
        assert await made.send(post(f"http://hooks.example.org:{endpoint.port}/")) == Reply(200)
    assert asked == ["hooks.example.org"]
    assert f"Host: hooks.example.org:{endpoint.port}".encode() in endpoint.requests[0]


async def test_a_name_that_turns_to_a_closed_address_is_refused_at_the_next_connection() -> None:
    rules = replace(LOOPBACK, networks=(ip_network("127.0.0.1/32"),))
    ask, asked = names(found("127.0.0.1"), found("127.0.0.2"))
    async with serving(answer(200)) as endpoint, client(rules, ask) as made:
        url = f"http://rebind.example.org:{endpoint.port}/"
        assert await made.send(post(url)) == Reply(200)
        refused = await made.send(post(url))
    assert isinstance(refused, Unsent)
    assert refused.trouble is SendTrouble.ADDRESS_REFUSED
    assert len(asked) == 2
    assert endpoint.connections == 1


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1", "10.0.0.1"), ("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "::ffff:127.0.0.1"), ()]
)
async def test_one_closed_address_among_those_of_a_name_keeps_from_all(addresses: tuple[str, ...]) -> None:
    ask, _ = names(found(*addresses))
    async with serving(answer(200)) as endpoint, client(look_up=ask) as made:
        refused = await made.send(post(f"http://both.example.org:{endpoint.port}/"))
    assert isinstance(refused, Unsent)
    assert refused.trouble is SendTrouble.ADDRESS_REFUSED
    assert endpoint.connections == 0


async def test_of_thousands_of_addresses_of_a_name_the_last_are_neither_looked_at_nor_connected_to() -> None:
    """To look at all of them held the loop for a sixth of a second."""
    many = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(4_000)]
    ask, _ = names(found(*many, "10.0.0.1"))
    resolver = CheckedResolver(lambda: LOOPBACK, ask)
    assert [one["host"] for one in await resolver.resolve("many.example.org", 80)] == many[:MOST_TRIED]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "localhost"])
async def test_without_a_rule_nothing_of_this_host_is_reached(host: str) -> None:
    async with serving(answer(200)) as endpoint, client(OutgoingRules(allow_http=True)) as made:
        refused = await made.send(post(f"http://{host}:{endpoint.port}/"))
    assert isinstance(refused, Unsent)
    assert refused.trouble is SendTrouble.ADDRESS_REFUSED
    assert endpoint.connections == 0


async def test_a_listed_name_is_reached_wherever_it_is() -> None:
    rules = OutgoingRules(allow_http=True, hosts=frozenset({"localhost"}))
    async with serving(answer(200)) as endpoint, client(rules) as made:
        assert await made.send(post(f"http://localhost:{endpoint.port}/")) == Reply(200)


async def test_http_leaves_only_where_it_is_allowed() -> None:
    async with serving(answer(200)) as endpoint, client(replace(LOOPBACK, allow_http=False)) as made:
        refused = await made.send(post(f"http://127.0.0.1:{endpoint.port}/"))
    assert isinstance(refused, Unsent)
    assert refused.trouble is SendTrouble.HTTP_REFUSED
    assert endpoint.connections == 0


async def test_a_name_that_is_none_and_a_name_server_that_never_answers() -> None:
    ask, _ = names(socket.gaierror(socket.EAI_NONAME, "no such name"))
    async with client(look_up=ask) as made:
        unknown = await made.send(post("http://nowhere.example.org/"))
    assert isinstance(unknown, Unsent)
    assert unknown.trouble is SendTrouble.NAME_UNKNOWN

    async def never(_host: str, _port: int) -> Found:
        await asyncio.Event().wait()
        return []

    async with client(look_up=never) as made:
        slow = await made.send(post("http://nowhere.example.org/", seconds=0.1))
    assert isinstance(slow, Unsent)
    assert slow.trouble is SendTrouble.TOO_SLOW


async def test_a_redirect_is_an_answer_and_leads_nowhere() -> None:
    async with serving(answer(200)) as other:
        to_it = f"Location: http://127.0.0.1:{other.port}/"
        async with serving(answer(307, to_it)) as endpoint, client() as made:
            assert await made.send(post(f"http://127.0.0.1:{endpoint.port}/")) == Reply(307)
    assert other.connections == 0


# Endpoints that misbehave


async def test_a_port_where_nobody_listens() -> None:
    async with serving(answer(200)) as endpoint:
        port = endpoint.port
    async with client() as made:
        refused = await made.send(post(f"http://127.0.0.1:{port}/"))
    assert isinstance(refused, Unsent)
    assert refused.trouble is SendTrouble.CONNECT_FAILED


@pytest.mark.parametrize(
    "behave",
    [reset, say(b""), say(b"220 smtp.example.org ESMTP\r\n"), say(b"HTTP/1.1 abc\r\n\r\n"), say_headers_without_end],
    ids=["reset", "nothing", "another protocol", "no status", "headers without end"],
)  # fmt: skip
async def test_what_is_no_http_answer(behave: Behaviour) -> None:
    outcome = await send(behave)
    assert isinstance(outcome, Unsent)
    assert outcome.trouble is SendTrouble.REPLY_BROKEN


@pytest.mark.parametrize("behave", [hang, drip], ids=["hangs", "drips"])
async def test_an_endpoint_that_is_too_slow_is_left_at_the_deadline(behave: Behaviour) -> None:
    began = time.monotonic()
    outcome = await send(behave, seconds=0.3)
    assert isinstance(outcome, Unsent)
    assert outcome.trouble is SendTrouble.TOO_SLOW
    assert 0.29 < time.monotonic() - began < 3


async def test_where_the_status_alone_counts_no_body_is_waited_for() -> None:
    began = time.monotonic()
    assert await send(hang_after_headers, seconds=30) == Reply(200)
    assert await send(say_body_without_end, seconds=30) == Reply(200)
    assert time.monotonic() - began < 10


async def test_a_body_is_read_to_its_cap_and_in_its_time() -> None:
    assert await send(answer(200, body=b"short"), most=100) == Reply(200, body=b"short")
    assert await send(answer(200, body=b"0123456789"), most=4) == Reply(200, body=b"0123")
    endless = await send(say_body_without_end, most=200_000)
    assert endless == Reply(200, body=b"x" * 200_000)
    late = await send(hang_after_headers, seconds=0.2, most=10)
    assert isinstance(late, Unsent)
    assert late.trouble is SendTrouble.TOO_SLOW


async def test_a_packed_body_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    packed = await send(answer(200, "Content-Encoding: gzip", body=bomb), most=1_000_000)
    assert packed == Reply(200, body=bomb)


# TLS


@asynccontextmanager
async def over_tls(folder: Path, name: str) -> AsyncIterator[tuple[Endpoint, OutgoingClient]]:
    """An endpoint with a certificate for `name`, and a client that trusts its authority and finds every name on loopback."""
    file = make_certificate(folder, name)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(file)
    ask, _ = names(*[found("127.0.0.1")] * 3)
    trust = ssl.create_default_context(cafile=str(file))
    async with serving(answer(200), served) as endpoint, client(look_up=ask, tls=trust) as made:
        yield endpoint, made


async def test_the_name_of_the_url_is_asked_for_and_its_certificate_is_checked(tmp_path: Path) -> None:
    async with over_tls(tmp_path, "hooks.example.org") as (endpoint, made):
        assert await made.send(post(f"https://hooks.example.org:{endpoint.port}/")) == Reply(200)
        wrong = await made.send(post(f"https://other.example.org:{endpoint.port}/"))
    assert isinstance(wrong, Unsent)
    assert wrong.trouble is SendTrouble.TLS_FAILED
    assert endpoint.names == ["hooks.example.org", "other.example.org"]
    assert len(endpoint.requests) == 1


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    async with over_tls(tmp_path, "hooks.example.org") as (endpoint, _):
        ask, _ = names(found("127.0.0.1"))
        async with client(look_up=ask) as made:
            refused = await made.send(post(f"https://hooks.example.org:{endpoint.port}/"))
    assert isinstance(refused, Unsent)
    assert refused.trouble is SendTrouble.TLS_FAILED
    assert endpoint.requests == []


@pytest.mark.slow
async def test_plain_text_where_tls_was_expected() -> None:
    async with serving(say(b"HTTP/1.1 200 OK\r\n\r\n")) as endpoint, client() as made:
        refused = await made.send(post(f"https://127.0.0.1:{endpoint.port}/", seconds=1))
    assert isinstance(refused, Unsent)
    assert refused.trouble in {SendTrouble.TLS_FAILED, SendTrouble.TOO_SLOW}
    assert endpoint.requests == []


@pytest.mark.parametrize("behave", [reset, hang, say(b"x")], ids=["reset", "hang", "garbage"])
async def test_no_detail_repeats_the_url(behave: Behaviour) -> None:
    async with serving(behave) as endpoint, client() as made:
        outcome = await made.send(post(f"http://127.0.0.1:{endpoint.port}/hush-path?hush=query", seconds=0.3))
    assert "hush" not in repr(outcome)


def test_the_kernel_tells_which_addresses_are_the_hosts_own() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        outward = str(probe.getsockname()[0])
    asked = [outward, "127.0.0.1", "::1", "192.0.2.1", "8.8.8.8", "2001:4860:4860::8888"]
    assert own_addresses(asked) == {outward, "127.0.0.1", "::1"}


async def test_the_hosts_own_public_address_is_refused_by_name_and_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here none is public: one that no way leads to stands in, and the kernel's word for it."""
    own = "2000::1"
    for module in ("resolver", "client"):
        monkeypatch.setattr(f"agent.adapters.outgoing.{module}.own_addresses", frozenset)

    async def look_up(_host: str, port: int) -> Found:
        return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (own, port))]

    made = OutgoingClient(OutgoingRules, "gpu-agent/test", look_up)
    try:
        for url in ("https://host.example/", f"https://[{own}]/"):
            sent = await made.send(OutgoingRequest("POST", read_url(url), {}, b"", 2.0))
            assert isinstance(sent, Unsent)
            assert sent.trouble is SendTrouble.ADDRESS_REFUSED
    finally:
        await made.close()
