"""A job's http port by path: what goes to the job, what comes back, and who may."""

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from agent.api.proxy.pages import PageDomain
from agent.api.tls import make_tls
from agent.api.tokens import Scope
from agent.core.job import Job
from agent.core.lease import Lease
from agent.errors import Phase
from tests.certificates import make_certificates
from tests.shell.proxy_world import OK, ProxyWorld, body_of, header_of, proxy_world, status_of


async def test_a_request_reaches_the_jobs_port_and_its_answer_comes_back(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(
            b"HTTP/1.1 418 I'm a teapot\r\nX-Own: 1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok"
        )
        answer = await world.ask("/a/b?c=d", "GET", "X-Mine: 2")
        assert answer.startswith(b"HTTP/1.1 418 I'm a teapot\r\n")
        assert (header_of(answer, "x-own"), body_of(answer)) == (["1"], b"ok")
        assert header_of(answer, "set-cookie") == [f"a=b; Path={world.base}/", f"c=d; Path={world.base}/"]
        assert world.side.heads[0].startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
        assert world.side.header("x-mine") == ["2"]
        assert world.side.header("host") == ["localhost:8080"]


async def test_by_path_a_page_is_in_a_sandbox_and_never_sniffed(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Security-Policy: default-src *\r\nContent-Length: 0\r\n\r\n"
        )
        answer = await world.ask()
        assert header_of(answer, "content-security-policy") == ["default-src *", "sandbox"]
        assert header_of(answer, "x-content-type-options") == ["nosniff"]


async def test_the_token_our_cookies_and_who_asks_are_not_the_clients_to_tell_the_job(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        await world.ask(
            "/", "GET", "Cookie: a=b; gpu-agent-page=x", "Proxy-Authorization: Basic eA==", "X-Forwarded-For: 6.6.6.6", "X_Forwarded_For: 6.6.6.6",
            "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Forwarded-Host: evil.org", "X-Forwarded-Proto: https", "TE: trailers", "Keep-Alive: 5",
        )  # fmt: skip
        head = world.side.heads[0].lower()
        assert world.api.token.encode() not in world.side.heads[0]
        for never in (b"authorization", b"6.6.6.6", b"evil.org", b"gpu-agent", b"\r\nte:", b"keep-alive"):
            assert never not in head
        assert world.side.header("cookie") == ["a=b"]
        assert world.side.header("x-forwarded-for") == ["127.0.0.1"]
        assert world.side.header("x-forwarded-host") == ["agent"]
        assert world.side.header("x-forwarded-proto") == ["http"]
        assert world.side.header("x-forwarded-prefix") == [world.base]


PATHS = [
    "/../../../x",
    "/%2e%2e/%2E%2E/x",
    "/a%2Fb%5c..",
    "//evil.org/",
    "/a;b=c",
    "/?a=/../b",
    "/'\"<>[]{}|^`",
]


async def test_the_path_behind_the_port_is_the_jobs_and_passes_byte_for_byte(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        for path in PATHS:
            assert status_of(await world.ask(path)) == 200
            assert world.side.heads[-1].startswith(f"GET {path} HTTP/1.1\r\n".encode())


OTHER_WAYS = [
    "/v1/jobs/{job}/ports/%77eb/",
    "/v1/jobs/{job}/ports%2Fweb/",
    "/v1/jobs/{job}%2Fports%2Fweb/",
    "/v1/jobs/x/../{job}/ports/web/",
    "/v1/jobs/%2e%2e/ports/web/",
    "/v1/./jobs/{job}/ports/web/",
    "//v1/jobs/{job}/ports/web/",
    "/v1/jobs/{job}/ports/web",
]


async def test_a_way_to_the_port_that_others_read_otherwise_leads_nowhere(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        for path in OTHER_WAYS:
            target = path.format(job=world.job)
            request = f"GET {target} HTTP/1.1\r\nHost: agent\r\n{world.bearer}\r\nConnection: close\r\n\r\n"
            assert status_of(await world.raw(request.encode())) == 404, target
        assert not world.side.heads


async def test_every_method_passes(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert status_of(await world.ask("/x", method, "Content-Length: 0")) == 200
            assert world.side.heads[-1].startswith(f"{method} /x HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_and_connect_do_not(tmp_path: Path, method: str) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        assert status_of(await world.ask("/", method)) in {400, 404, 405}
        assert not world.side.heads


async def test_anothers_job_does_not_exist_and_nobody_gets_in_without_a_token(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        for token, expected in ((await world.api.new_token("bob"), 404), ("", 401), ("gat_x_y", 401)):
            for method, path in (
                ("GET", f"{world.base}/"),
                ("POST", f"{world.base}/"),
                ("POST", f"/v1/jobs/{world.job}/open"),
            ):
                reply = await world.api.call(
                    method, path, {"port": "web"} if method == "POST" else None, token=token
                )
                assert reply.status == expected
        assert not world.side.heads


async def test_a_token_for_all_jobs_reaches_anothers(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        token = await world.api.new_token("root", (Scope.JOBS_READ, Scope.JOBS_ALL))
        assert (await world.api.call("GET", f"{world.base}/", token=token)).raw == b"ok"


async def test_who_may_only_read_may_get_and_neither_write_nor_talk(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        reader = await world.api.new_token("alice", (Scope.JOBS_READ,))
        assert (await world.api.call("GET", f"{world.base}/", token=reader)).status == 200
        assert (await world.api.call("HEAD", f"{world.base}/", token=reader)).status == 200
        socket = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
        tries = [
            ("POST", f"{world.base}/", {}),
            ("OPTIONS", f"{world.base}/", {}),
            ("GET", f"{world.base}/", socket),
            ("POST", f"/v1/jobs/{world.job}/open", {}),
        ]
        for method, path, headers in tries:
            reply = await world.api.call(method, path, token=reader, headers=headers)
            assert (reply.status, reply.json["code"]) == (403, "scope_missing")
        writer = await world.api.new_token("alice", (Scope.JOBS_WRITE,))
        assert (await world.api.call("GET", f"{world.base}/", token=writer)).status == 403
        assert (await world.api.call("POST", f"{world.base}/", token=writer)).status == 200


async def test_over_the_unix_socket_no_token_is_needed_and_no_address_is_told(tmp_path: Path) -> None:

    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        reader, writer = await asyncio.open_unix_connection(str(world.api.socket))
        writer.write(f"GET {world.base}/ HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert (status_of(answer), body_of(answer)) == (200, b"ok")
        assert world.side.header("x-forwarded-for") == []


async def refused(world: ProxyWorld, path: str) -> tuple[int, str]:
    reply = await world.api.call("GET", path)
    return reply.status, reply.json["code"]


async def test_ports_that_are_none_or_not_http_are_refused(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        jobs = "/v1/jobs"
        assert await refused(world, f"{jobs}/{world.job}/ports/db/") == (422, "port_not_http")
        assert await refused(world, f"{jobs}/{world.job}/ports/none/") == (404, "port_not_found")
        assert await refused(world, f"{jobs}/0190aaaa-0000-7000-8000-000000009999/ports/web/") == (
            404,
            "job_not_found",
        )
        assert not world.side.heads


@pytest.mark.parametrize(
    "phase", [Phase.QUEUED, Phase.STARTING, Phase.STOPPING, Phase.UPLOADING, Phase.FINISHED]
)
async def test_a_job_that_does_not_run_is_not_connected_to(tmp_path: Path, phase: Phase) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        await world.change(phase=phase)
        assert await refused(world, f"{world.base}/") == (409, "job_not_running")
        assert not world.side.heads


async def test_a_port_that_was_given_to_another_meanwhile_gets_not_one_byte(tmp_path: Path) -> None:
    """The row is read before the connection is made, and once more after it."""
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        store, looks = world.api.store, 0
        get = store.get

        async def end_behind_the_look(job_id: str, viewer: object) -> Job | None:
            nonlocal looks
            found = await get(job_id, viewer)  # type: ignore[arg-type] # as it was given
            looks += 1
            assert found is not None
            await store.save(replace(found, phase=Phase.STOPPING, lease=Lease()))
            return found

        store.get = end_behind_the_look  # type: ignore[method-assign, assignment] # a fake, slow at this step
        answer = await world.ask()
        assert (looks, status_of(answer)) == (1, 409)
        assert not world.side.heads


@pytest.mark.parametrize("later", [{"seq": 1000}, {"attempt": 2}])
async def test_a_port_of_that_number_that_is_anothers_meanwhile_gets_not_one_byte(
    tmp_path: Path, later: dict[str, int]
) -> None:
    """The same lease to the number: of a later job of this id, or of the next attempt."""
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        store, get = world.api.store, world.api.store.get

        async def replace_behind_the_look(job_id: str, viewer: object) -> Job | None:
            found = await get(job_id, viewer)  # type: ignore[arg-type] # as it was given
            assert found is not None
            await store.save(replace(found, **later))  # type: ignore[arg-type] # fields by name
            return found

        store.get = replace_behind_the_look  # type: ignore[method-assign, assignment] # a fake, slow at this step
        assert status_of(await world.ask()) == 409
        assert not world.side.heads


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_a_port_where_nobody_answers_is_told_so(tmp_path: Path, answer: bytes) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(answer)
        code = (502, "port_bad_answer" if answer else "port_unreachable")
        assert await refused(world, f"{world.base}/") == code


async def test_a_port_where_nobody_listens_is_told_so(tmp_path: Path) -> None:

    async with proxy_world(tmp_path) as world:
        with socket.socket() as held:  # bound and not listening: nobody else gets the number meanwhile
            held.bind(("127.0.0.1", 0))
            job = await world.api.store.read(world.job)
            assert job is not None
            assert job.lease is not None
            web, *others = job.lease.ports
            await world.change(lease=Lease(ports=(replace(web, host_port=held.getsockname()[1]), *others)))
            reply = await world.api.call("GET", f"{world.base}/")
        assert (reply.status, reply.json["code"], reply.headers["Retry-After"]) == (
            502,
            "port_unreachable",
            "2",
        )


async def test_redirects_stay_within_the_port_where_they_were_meant_to(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        for given, expected in (
            ("/login", f"{world.base}/login"),
            ("http://localhost:8080/x", f"{world.base}/x"),
            ("//evil.org/", "//evil.org/"),
            ("https://other.org/", "https://other.org/"),
        ):
            world.side.answers(
                f"HTTP/1.1 302 Found\r\nLocation: {given}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            assert header_of(await world.ask(), "location") == [expected]


async def test_over_tls_it_is_the_same_both_ways_and_the_job_is_told(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = make_tls(tmp_path / "s.pem", tmp_path / "s.key", None)
    domain = PageDomain("jobs.localhost", "https", 443)
    async with proxy_world(tmp_path, tls=tls, domain=domain) as world:

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            body = await reader.readexactly(1 << 20)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

        world.side.script = echo
        assert world.api.sites is not None
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        reader, writer = await asyncio.open_connection("127.0.0.1", world.api.sites.port, ssl=trust)
        sent = bytes(range(256)) * 4096
        head = f"POST {world.base}/ HTTP/1.1\r\nHost: agent\r\n{world.bearer}\r\nConnection: close\r\nContent-Length: {len(sent)}\r\n\r\n"
        writer.write(head.encode() + sent)
        assert body_of(await reader.read()) == sent
        assert world.side.header("x-forwarded-proto") == ["https"]
        writer.close()
