"""Where the API listens, and what it bears with: sockets, TLS, slow and broken clients."""

import asyncio
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from agent.api.limits import ApiLimits
from agent.api.sites import Listen, ListenFailedError, bind_socket, open_sites
from agent.api.tls import make_tls
from agent.cli.client import translated
from agent.cli.refusals import CertificateNotTrustedError
from agent.cli.target import Target
from tests.certificates import make_certificates
from tests.shell.api_world import ApiWorld, api_world

SHORT = ApiLimits(stream_seconds=5, header_seconds=0.2, body_seconds=0.2)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path, api_limits=SHORT) as made:
        yield made


async def speak(world: ApiWorld, *pieces: bytes) -> bytes:
    """Send the pieces with a short pause between them; everything that comes until the connection is closed."""
    assert world.sites is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", world.sites.port)
    answer = bytearray()

    async def collect() -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                answer.extend(chunk)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(collect())
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.05)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return bytes(answer)


async def test_a_connection_that_sends_nothing_is_closed(world: ApiWorld) -> None:
    assert await speak(world) == b""


async def test_a_connection_that_drips_its_headers_is_closed(world: ApiWorld) -> None:
    pieces = [b"GET /healthz HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 8]
    assert await speak(world, *pieces) == b""


async def test_the_second_request_of_a_connection_has_no_more_time_than_the_first(world: ApiWorld) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await speak(world, whole, b"GET /healthz HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 8)
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_a_body_that_drips_is_a_408(world: ApiWorld) -> None:
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.token}\r\nContent-Length: 100\r\nConnection: close\r\n\r\n"
    answer = await speak(world, head.encode(), *[b"{"] * 8)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_too_slow" in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(500)) + b"\r\n",
    ],
)
async def test_what_is_no_http_is_a_400_problem(world: ApiWorld, sent: bytes) -> None:
    answer = await speak(world, sent)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"application/problem+json" in answer
    assert b"Traceback" not in answer
    assert (await world.call("GET", "/v1/jobs")).status == 200


async def test_the_server_does_not_tell_its_versions(world: ApiWorld) -> None:
    reply = await world.call("GET", "/healthz")
    assert reply.headers["Server"] == "gpu-agent"


async def test_a_proxy_before_us_is_asked_to_gather_no_stream(world: ApiWorld) -> None:
    """X-Accel-Buffering, as nginx's ngx_http_proxy_module has it."""
    job_id = await world.submit()
    streamed = await world.call("GET", f"/v1/jobs/{job_id}/outputs?format=tar")
    assert (streamed.status, streamed.headers.get("X-Accel-Buffering")) == (200, "no")
    assert "X-Accel-Buffering" not in (await world.call("GET", f"/v1/jobs/{job_id}")).headers


async def test_the_socket_is_for_its_owner_and_group(world: ApiWorld) -> None:
    mode = world.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    first = bind_socket(path, "no-such-group")
    first.sock.close()  # as a kill would: the file stays
    second = bind_socket(path, "no-such-group")
    second.sock.close()
    second.unlink()
    assert not path.exists()


async def test_a_socket_where_somebody_answers_is_not_taken(world: ApiWorld) -> None:
    with pytest.raises(ListenFailedError, match="somebody answers"):
        bind_socket(world.socket, "no-such-group")
    assert (await world.call("GET", "/healthz")).status == 200
    assert world.socket.exists()


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(ListenFailedError, match="no socket"):
        bind_socket(path, "no-such-group")
    assert path.read_text() == "precious"


def test_a_socket_of_somebody_else_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    ours = bind_socket(path, "no-such-group")
    path.unlink()
    theirs = bind_socket(path, "no-such-group")
    ours.unlink()
    assert path.exists()
    for bound in (ours, theirs):
        bound.sock.close()


async def test_a_taken_port_is_told_and_nothing_stays_open(world: ApiWorld, tmp_path: Path) -> None:
    assert world.sites is not None
    path = tmp_path / "other.sock"
    with pytest.raises(ListenFailedError, match=str(world.sites.port)):
        await open_sites(world.app, Listen("127.0.0.1", world.sites.port, None, path))
    assert not path.exists()


@pytest.mark.parametrize("client_ca", [None, "ca.pem"])
async def test_tls_and_client_certificates(tmp_path: Path, client_ca: str | None) -> None:
    make_certificates(tmp_path)
    tls = make_tls(
        tmp_path / "s.pem", tmp_path / "s.key", None if client_ca is None else tmp_path / client_ca
    )
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    known = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    known.load_cert_chain(tmp_path / "c.pem", tmp_path / "c.key")
    async with api_world(tmp_path, tls=tls) as world:
        assert world.sites is not None
        url = f"https://127.0.0.1:{world.sites.port}/v1/jobs"
        head = {"Authorization": f"Bearer {world.token}"}
        async with aiohttp.ClientSession(headers=head) as http:
            async with http.get(url, ssl=known) as answer:
                assert answer.status == 200
            if client_ca is None:
                async with http.get(url, ssl=trust) as answer:
                    assert answer.status == 200
            else:
                with pytest.raises(aiohttp.ClientError):
                    await http.get(url, ssl=trust)
            async with http.get(url, ssl=known, headers={"Authorization": ""}) as answer:
                assert answer.status == 401  # a certificate is no token


def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = make_tls(tmp_path / "s.pem", tmp_path / "s.key", None)
    assert tls.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_plain_http_to_a_tls_port_gets_nothing(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    async with api_world(tmp_path, tls=make_tls(tmp_path / "s.pem", tmp_path / "s.key", None)) as world:
        assert b"HTTP/1.1" not in await speak(world, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_the_command_line_says_of_an_authority_that_it_does_not_know_how_to_name_it(
    tmp_path: Path,
) -> None:
    make_certificates(tmp_path)
    async with api_world(tmp_path, tls=make_tls(tmp_path / "s.pem", tmp_path / "s.key", None)) as world:
        url = world.url.replace("http://", "https://")
        told = pytest.raises(CertificateNotTrustedError, match=f"the certificate of {url} is not trusted: ")
        async with aiohttp.ClientSession() as http:
            with told, translated(Target(url)):
                await http.get(url)
