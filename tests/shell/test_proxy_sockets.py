"""WebSockets through the proxy: the bytes of both ends, both ways, and nothing where there was no whole handshake."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from agent.api.sites import CLOSE_SECONDS
from tests.shell.api_world import LONG, until
from tests.shell.proxy_world import ProxyWorld, proxy_world, status_of

MIB = 1 << 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    + ACCEPT
    + b"\r\n\r\n"
)


CLOSED: web.AppKey[list[int | None]] = web.AppKey("closed", list)


async def echo(request: web.Request) -> web.WebSocketResponse:
    """A real server of WebSockets: answers what it is told, and says its subprotocol."""
    socket = web.WebSocketResponse(protocols=("chat",), max_msg_size=64 * MIB, autoping=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.PING:
            await socket.pong(message.data)
        elif message.data == "close":
            await socket.close(code=4242, message=b"as you say")
        elif message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    request.app[CLOSED].append(socket.close_code)
    return socket


@asynccontextmanager
async def echo_world(tmp: Path, closed: list[int | None]) -> AsyncIterator[ProxyWorld]:
    app = web.Application()
    app[CLOSED] = closed
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with proxy_world(tmp) as world:
        assert runner.addresses
        job = await world.api.store.read(world.job)
        assert job is not None
        assert job.lease is not None
        web_port, *others = job.lease.ports
        moved = replace(web_port, host_port=runner.addresses[0][1])
        await world.change(lease=replace(job.lease, ports=(moved, *others)))
        try:
            yield world
        finally:
            await runner.cleanup()


async def test_messages_pings_subprotocols_and_close_codes_are_the_two_ends_own(tmp_path: Path) -> None:
    async with echo_world(tmp_path, []) as world:
        headers = {"Authorization": f"Bearer {world.api.token}"}
        assert world.api.http is not None
        async with world.api.http.ws_connect(
            f"{world.api.url}{world.base}/ws", headers=headers, protocols=("x", "chat"), autoping=False
        ) as socket:
            assert socket.protocol == "chat"
            await socket.send_str("häl")
            assert (await socket.receive(5)).data == "häl"
            await socket.send_bytes(b"\x00\xff")
            assert (await socket.receive(5)).data == b"\x00\xff"
            await socket.ping(b"are you there")
            pong = await socket.receive(5)
            assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"are you there")
            await socket.send_str("close")
            closed = await socket.receive(5)
            assert (closed.type, closed.data, closed.extra) == (aiohttp.WSMsgType.CLOSE, 4242, "as you say")


async def test_a_client_that_closes_is_seen_to_by_the_job(tmp_path: Path) -> None:
    closed: list[int | None] = []
    async with echo_world(tmp_path, closed) as world:
        assert world.api.http is not None
        headers = {"Authorization": f"Bearer {world.api.token}"}
        socket = await world.api.http.ws_connect(f"{world.api.url}{world.base}/ws", headers=headers)
        assert await socket.close(code=4001)
        await until(lambda: closed == [4001])


async def test_large_messages_pass_with_compression_and_without(tmp_path: Path) -> None:
    async with echo_world(tmp_path, []) as world:
        assert world.api.http is not None
        for compress in (0, 15):
            data = bytes(8 * MIB) + b"end"
            async with world.api.http.ws_connect(
                f"{world.api.url}{world.base}/ws", headers={"Authorization": f"Bearer {world.api.token}"}, max_msg_size=64 * MIB, compress=compress
            ) as socket:  # fmt: skip
                await socket.send_bytes(data)
                assert (await socket.receive(20)).data == data


def handshake(world: ProxyWorld, *lines: str) -> bytes:
    head = [
        f"GET {world.base}/ws HTTP/1.1",
        "Host: agent",
        world.bearer,
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *lines,
        "",
        "",
    ]
    return "\r\n".join(head).encode()


async def test_bytes_sent_before_the_switch_is_told_of_reach_the_other_end(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(SWITCHED + b"from the job")
            writer.write(await reader.readexactly(5))

        world.side.script = talk
        reader, writer = await world.connect()
        writer.write(handshake(world) + b"early")
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert answer.endswith(b"\r\n\r\nfrom the jobearly")
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        SWITCHED.replace(ACCEPT, b"x"),
        SWITCHED.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        SWITCHED.replace(b"Sec-WebSocket-Accept", b"X"),
    ],
)
async def test_a_job_that_accepts_another_handshake_gets_no_tunnel(tmp_path: Path, raw: bytes) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(raw)
        reader, writer = await world.connect()
        writer.write(handshake(world))
        async with asyncio.timeout(5):
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 502
        writer.close()


async def test_a_job_that_declines_answers_as_ever_and_what_came_early_is_a_request_to_the_agent(
    tmp_path: Path,
) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!")
        answers = await world.raw(
            handshake(world) + b"GET /hidden HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
        )
        assert status_of(answers) == 403
        assert len(world.side.heads) == 1


@pytest.mark.parametrize(
    "line", [f"Sec-WebSocket-Key: {KEY}", "Content-Length: 5", "Transfer-Encoding: chunked"]
)
async def test_half_of_a_handshake_is_refused(tmp_path: Path, line: str) -> None:
    async with proxy_world(tmp_path) as world:
        reader, writer = await world.connect()
        writer.write(handshake(world, line))
        async with asyncio.timeout(5):
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 400
        writer.transport.abort()
        assert not world.side.heads


async def test_a_socket_ends_with_its_token_with_the_daemon_and_with_the_job(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, limits=replace(LONG, recheck_seconds=0.05)) as world:
        for end in (end_token, end_job, end_daemon):
            hang_up = asyncio.Event()

            async def hold(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hang_up: asyncio.Event = hang_up
            ) -> None:
                writer.write(SWITCHED)
                reading = asyncio.ensure_future(reader.read())
                waiting = asyncio.ensure_future(hang_up.wait())
                await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
                for task in (reading, waiting):
                    task.cancel()

            world.side.script = hold
            reader, writer = await world.connect()
            writer.write(handshake(world))
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
                await end(world, hang_up)
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()


async def end_job(_world: ProxyWorld, hang_up: asyncio.Event) -> None:
    hang_up.set()


async def end_daemon(world: ProxyWorld, _hang_up: asyncio.Event) -> None:
    assert world.api.sites is not None
    # At once: nobody waits for what would be cut at last.
    async with asyncio.timeout(CLOSE_SECONDS / 2):
        await world.api.sites.close()


async def end_token(world: ProxyWorld, _hang_up: asyncio.Event) -> None:
    (token,) = await world.api.store.tokens()
    await world.api.store.remove_token(token.id)
    world.api.token = await world.api.new_token("alice")


@pytest.mark.slow
async def test_a_socket_that_is_silent_for_too_long_is_cut_and_one_where_either_side_talks_is_not(
    tmp_path: Path,
) -> None:
    async with proxy_world(tmp_path, limits=replace(LONG, port_idle_seconds=1.2)) as world:

        async def talk_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(SWITCHED)
            for _ in range(4):
                await asyncio.sleep(0.5)
                writer.write(b"x")
            while await reader.read(1):
                pass

        world.side.script = talk_then_listen
        reader, writer = await world.connect()
        writer.write(handshake(world))
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(4) == b"xxxx"
            for _ in range(4):
                await asyncio.sleep(0.5)
                writer.write(b"y")
            last = asyncio.get_running_loop().time()
            assert await reader.read() == b""
            assert asyncio.get_running_loop().time() - last > 0.6
        writer.close()


async def test_a_slow_job_slows_a_socket_down_and_so_does_a_slow_client(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        goes_on = asyncio.Event()
        sent = 0

        async def take_nothing_and_flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(SWITCHED)
            while not goes_on.is_set() and sent < 256 * MIB:
                writer.write(bytes(MIB))
                sent += MIB
                try:
                    await asyncio.wait_for(writer.drain(), 0.5)
                except TimeoutError:
                    break
            await goes_on.wait()

        world.side.script = take_nothing_and_flood
        reader, writer = await world.connect()
        writer.write(handshake(world))
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
        put = 0
        while put < 256 * MIB:
            writer.write(bytes(MIB))
            put += MIB
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                break
        await until(lambda: sent > 0)
        assert put < 64 * MIB
        assert sent < 64 * MIB
        goes_on.set()
        writer.transport.abort()
