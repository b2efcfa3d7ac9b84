"""Jobs' pages under host names of their own: who gets in, by what, and what a page can do to others."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.api.proxy.pages import PageDomain
from agent.api.tokens import Scope
from agent.core.proxy_visits import COOKIE_SECONDS, TICKET_SECONDS
from agent.errors import Phase
from tests.shell.proxy_world import OK, add_running, body_of, header_of, proxy_world, status_of

LINK = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")


def code_of(answer: bytes) -> str:
    return body_of(answer).partition(b'"code": "')[2].partition(b'"')[0].decode()


async def test_a_one_time_url_sets_a_cookie_that_shows_the_page(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        reply = await world.api.call(
            "POST", f"/v1/jobs/{world.job}/open", {"port": "web", "path": "/lab?token=x"}
        )
        assert reply.status == 201
        assert reply.json["url"].startswith(f"http://{world.host}:8470/.gpu-agent/open?ticket=")
        answer = await world.visit("/" + reply.json["url"].split("/", 3)[3], *LINK)
        assert (status_of(answer), header_of(answer, "location")) == (303, ["/lab?token=x"])
        assert header_of(answer, "server") == ["gpu-agent"]
        assert (header_of(answer, "cache-control"), header_of(answer, "referrer-policy")) == (
            ["no-store"],
            ["no-referrer"],
        )
        (given,) = header_of(answer, "set-cookie")
        assert given.startswith("gpu-agent-page=1.")
        assert given.split("; ")[1:] == ["Path=/", f"Max-Age={COOKIE_SECONDS}", "HttpOnly", "SameSite=Lax"]
        answer = await world.visit("/lab?token=x", f"Cookie: own=1; {given.partition(';')[0]}", *LINK)
        assert (status_of(answer), body_of(answer)) == (200, b"ok")
        assert world.side.heads[0].startswith(b"GET /lab?token=x HTTP/1.1\r\n")
        assert world.side.header("host") == world.side.header("x-forwarded-host") == [world.host]
        assert world.side.header("cookie") == ["own=1"]
        assert header_of(answer, "content-security-policy") == ["frame-ancestors 'self'"]


async def test_a_url_is_good_once(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        path = await world.open()
        assert status_of(await world.visit(path, method="HEAD")) == 405  # who only looks uses nothing up
        assert status_of(await world.visit(path)) == 303
        again = await world.visit(path)
        assert (status_of(again), code_of(again), header_of(again, "set-cookie")) == (
            403,
            "page_not_open",
            [],
        )


async def test_a_url_is_good_for_a_minute_whatever_the_wall_clock_does(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        in_time, late = await world.open(), await world.open()
        world.api.clock.started -= 3600.0
        world.api.clock.asleep += TICKET_SECONDS - 5
        assert status_of(await world.visit(in_time)) == 303
        world.api.clock.asleep += 5.0
        assert status_of(await world.visit(late)) == 403


async def test_a_url_is_good_for_its_own_port_and_its_own_job_and_used_up_elsewhere(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        other_job = await add_running(world.api, world.side.port)
        for host in (f"other--{world.job}.jobs.localhost", f"web--{other_job}.jobs.localhost"):
            path = await world.open()
            assert status_of(await world.visit(path, host=host)) == 403
            assert status_of(await world.visit(path)) == 403


async def test_a_cookie_is_good_for_its_own_port_and_its_own_job(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        other_job = await add_running(world.api, world.side.port)
        cookie = await world.cookie()
        for host in (f"other--{world.job}.jobs.localhost", f"web--{other_job}.jobs.localhost"):
            assert code_of(await world.visit("/", cookie, host=host)) == "page_not_open"
        assert status_of(await world.visit("/", cookie, host=world.host.upper())) == 200
        assert status_of(await world.visit("/", cookie, host=f"{world.host}.:8470")) == 200


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Cookie: gpu-agent-page=1.1.99999999999.local." + "0" * 64],
        ["Cookie: gpu-agent-page="],
        ["Authorization: Bearer {token}"],
    ],
)
async def test_without_the_cookie_nothing_is_shown_not_even_whether_there_is_a_job(
    tmp_path: Path, lines: list[str]
) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        sent = [line.format(token=world.api.token) for line in lines]
        here = await world.visit("/", *sent)
        nowhere = await world.visit(
            "/", *sent, host="web--0190aaaa-0000-7000-8000-00000000ffff.jobs.localhost"
        )
        assert (status_of(here), body_of(here)) == (403, body_of(nowhere))
        assert not world.side.heads


async def test_a_good_cookie_counts_beside_one_that_another_page_tossed(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie = await world.cookie()
        assert (
            status_of(
                await world.visit("/", f"Cookie: gpu-agent-page=tossed; {cookie.removeprefix('Cookie: ')}")
            )
            == 200
        )
        assert world.side.header("cookie") == []


async def test_a_cookie_outlives_the_daemon_and_ends_with_its_time(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as first:
        cookie, job = await first.cookie(), await first.api.store.read(first.job)
        token = await first.api.store.tokens()
    async with proxy_world(tmp_path) as world:
        assert job is not None
        world.side.answers(OK)
        for record in token:
            await world.api.store.add_token(record)
        assert status_of(await world.visit("/", cookie)) == 200
        world.api.clock.started += COOKIE_SECONDS - 30.0
        assert status_of(await world.visit("/", cookie)) == 200
        world.api.clock.started += 30.0
        assert status_of(await world.visit("/", cookie)) == 403


async def test_a_cookie_ends_with_the_token_that_asked_for_it(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie, unused = await world.cookie(), await world.open()
        (token,) = await world.api.store.tokens()
        await world.api.store.remove_token(token.id)
        assert code_of(await world.visit("/", cookie)) == "page_not_open"
        answer = await world.visit(unused)
        assert (
            code_of(await world.visit("/", f"Cookie: {header_of(answer, 'set-cookie')[0].partition(';')[0]}"))
            == "page_not_open"
        )
        assert not world.side.heads


async def test_a_cookie_is_good_as_far_as_its_token_is_now(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie = await world.cookie()
        (token,) = await world.api.store.tokens()
        await world.api.store.remove_token(token.id)
        await world.api.store.add_token(replace(token, scopes=(Scope.JOBS_READ.value,)))
        assert code_of(await world.visit("/", cookie)) == "page_not_open"


async def test_a_cookie_ends_with_its_tokens_time(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie = await world.cookie()
        (token,) = await world.api.store.tokens()
        for expires_at, status in ((world.api.clock.now() + 1, 200), (world.api.clock.now(), 403)):
            await world.api.store.remove_token(token.id)
            await world.api.store.add_token(replace(token, expires_at=expires_at))
            assert status_of(await world.visit("/", cookie)) == status


async def test_a_cookie_of_the_hosts_own_people_is_good_as_theirs(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        reader, writer = await asyncio.open_unix_connection(str(world.api.socket))
        body = b'{"port": "web"}'
        head = f"POST /v1/jobs/{world.job}/open HTTP/1.1\r\nHost: local\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        url = (await reader.read()).partition(b'"url": "')[2].partition(b'"')[0].decode()
        writer.close()
        answer = await world.visit("/" + url.split("/", 3)[3])
        (given,) = header_of(answer, "set-cookie")
        assert status_of(await world.visit("/", f"Cookie: {given.partition(';')[0]}")) == 200


async def test_a_page_ends_with_its_job_and_is_not_the_page_of_a_later_one_of_the_same_id(
    tmp_path: Path,
) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie = await world.cookie()
        running = await world.api.store.read(world.job)
        assert running is not None
        await world.change(phase=Phase.FINISHED)
        assert (status_of(await world.visit("/", cookie))) == 409
        token = await world.api.new_token("alice")
        await world.api.finish(world.job)
        assert (await world.api.call("DELETE", f"/v1/jobs/{world.job}", token=token)).status == 204
        assert status_of(await world.visit("/", cookie)) == 404
        reply = await world.api.call(
            "PUT",
            f"/v1/jobs/{world.job}",
            {
                "image": "busybox",
                "command": ["true"],
                "network": "egress",
                "ports": [{"name": "web", "port": 8080, "proto": "http"}],
            },
        )
        assert reply.status == 201
        await world.change(phase=Phase.RUNNING, lease=running.lease)
        assert code_of(await world.visit("/", cookie)) == "page_not_open"
        assert not world.side.heads


async def test_another_page_gets_nothing_with_the_visitors_cookie(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie = await world.cookie()
        other = "http://web--0190aaaa-0000-7000-8000-00000000ffff.jobs.localhost:8470"
        tries = [
            ("POST", [f"Origin: {other}", "Content-Length: 0"]),
            ("GET", ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"]),
            ("GET", ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"]),
            ("GET", [f"Origin: {other}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]),
            ("POST", ["Origin: null", "Content-Length: 0"]),
        ]  # fmt: skip
        for method, lines in tries:
            answer = await world.visit("/", cookie, *lines, method=method)
            assert (status_of(answer), code_of(answer)) == (403, "cross_origin_refused")
        assert not world.side.heads
        own = f"Origin: http://{world.host}:8470"
        assert (
            status_of(
                await world.visit(
                    "/", cookie, own, "Content-Length: 0", method="POST", host=f"{world.host}:8470"
                )
            )
            == 200
        )


async def test_at_a_pages_host_name_no_path_is_the_apis(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie = await world.cookie()
        for path in ("/v1/host", "/healthz", "/openapi.json", world.base + "/", "//v1/host"):
            assert body_of(await world.visit(path, cookie, world.bearer)) == b"ok"
            assert world.side.heads[-1].startswith(f"GET {path} HTTP/1.1".encode())
        assert all(b"authorization" not in head.lower() for head in world.side.heads)
        for host in ("jobs.localhost", "gpu.example.org", "", "localhost"):
            assert status_of(await world.visit("/healthz", host=host)) == 200
        assert len(world.side.heads) == 5


@pytest.mark.parametrize(
    "host",
    [
        "x.jobs.localhost",
        "web-{job}.jobs.localhost",
        "a.web--{job}.jobs.localhost",
        "web--{job}.jobs.localhost:x",
        "WEB--nobody.JOBS.localhost",
        "xn--a.jobs.localhost",
    ],
)
async def test_a_name_below_the_domain_that_is_no_pages_is_nobodys(tmp_path: Path, host: str) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        answer = await world.visit("/healthz", await world.cookie(), host=host.format(job=world.job))
        assert (status_of(answer), code_of(answer)) == (404, "page_not_found")
        assert not world.side.heads


async def test_two_hosts_are_no_host(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        cookie = await world.cookie()
        for first, second in ((world.host, "agent"), ("agent", world.host), (world.host, world.host)):
            answer = await world.visit("/", cookie, f"Host: {second}", host=first)
            assert status_of(answer) == 400
        answer = await world.raw(
            f"GET http://agent/healthz HTTP/1.1\r\nHost: {world.host}\r\n{cookie}\r\nConnection: close\r\n\r\n".encode()
        )
        assert status_of(answer) == 400
        assert not world.side.heads


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_and_connect_reach_no_page(tmp_path: Path, method: str) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        assert status_of(await world.visit("/", await world.cookie(), method=method)) in {400, 405}
        assert not world.side.heads


async def test_other_methods_pass_whatever_they_are(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        assert (
            status_of(await world.visit("/dav", await world.cookie(), "Depth: 1", method="PROPFIND")) == 200
        )
        assert world.side.heads[0].startswith(b"PROPFIND /dav ")


async def test_a_page_sets_cookies_for_its_own_host_alone_and_never_ours(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        cookies = (
            b"a=b; Domain=jobs.localhost; Path=/x",
            b"gpu-agent-page=forged",
            b"__Host-gpu-agent-page=forged",
            b"=gpu-agent-page=forged",
        )
        world.side.answers(
            b"HTTP/1.1 200 OK\r\n"
            + b"".join(b"Set-Cookie: " + cookie + b"\r\n" for cookie in cookies)
            + b'Clear-Site-Data: "cookies"\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n'
        )
        answer = await world.visit("/", await world.cookie())
        assert header_of(answer, "set-cookie") == ["a=b; Path=/x"]
        assert header_of(answer, "clear-site-data") == []
        assert header_of(answer, "location") == ["/x"]
        assert header_of(answer, "cache-control") == ["private, no-cache"]


async def test_who_asks_can_not_be_told_to_a_page(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, domain=PageDomain("jobs.localhost", "https", 443)) as world:
        world.side.answers(OK)
        path = await world.open()
        (given,) = header_of(await world.visit(path), "set-cookie")
        assert given.startswith("__Host-gpu-agent-page=")
        assert given.endswith("; Secure")
        await world.visit(
            "/",
            f"Cookie: {given.partition(';')[0]}",
            "X-Forwarded-For: 6.6.6.6",
            "X-Forwarded-Proto: gopher",
            "Forwarded: host=evil",
        )
        assert b"6.6.6.6" not in world.side.heads[0]
        assert b"evil" not in world.side.heads[0]
        assert world.side.header("x-forwarded-proto") == ["https"]


async def test_our_paths_of_a_page_are_never_the_jobs(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        world.side.answers(OK)
        for path in ("/.gpu-agent/", "/.gpu-agent/x", "/.gpu-agent/open/x"):
            assert status_of(await world.visit(path, await world.cookie())) == 404
        for bad in ("//evil.org", "/\\evil", "x", "/.gpu-agent/open?ticket=x", "/a b"):
            reply = await world.api.call("POST", f"/v1/jobs/{world.job}/open", {"port": "web", "path": bad})
            assert (reply.status, reply.json["faults"][0]["field"]) == (400, "path")
        assert not world.side.heads


async def test_what_is_asked_of_open_is_refused_with_every_fault(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        open_path = f"/v1/jobs/{world.job}/open"
        reply = await world.api.call("POST", open_path, {"prot": "web", "path": 5})
        assert sorted(fault["field"] for fault in reply.json["faults"]) == ["path", "port", "prot"]
        assert (await world.api.call("POST", open_path, ["web"])).status == 400
        assert (await world.api.call("POST", open_path, {"port": "db"})).json["code"] == "port_not_http"
        assert (await world.api.call("POST", open_path, {"port": "none"})).json["code"] == "port_not_found"
        await world.change(phase=Phase.STOPPING)
        assert (await world.api.call("POST", open_path, {"port": "web"})).json["code"] == "job_not_running"


async def test_without_a_domain_a_page_can_not_be_opened_and_every_host_is_the_apis(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, domain=None) as world:
        reply = await world.api.call("POST", f"/v1/jobs/{world.job}/open", {"port": "web"})
        assert (reply.status, reply.json["code"], reply.json["blame"]) == (409, "proxy_domain_unset", "host")
        assert status_of(await world.visit("/healthz")) == 200


async def test_a_ports_name_that_fits_into_no_host_name_is_refused(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        job = await world.api.store.read(world.job)
        assert job is not None
        assert job.lease is not None
        name = "w" * 26
        port, lease = (
            job.spec.ports[0].model_copy(update={"name": name}),
            replace(job.lease.ports[0], name=name),
        )
        await world.change(
            spec=job.spec.model_copy(update={"ports": (port,)}), lease=replace(job.lease, ports=(lease,))
        )
        reply = await world.api.call("POST", f"/v1/jobs/{world.job}/open", {"port": name})
        assert (reply.status, reply.json["code"]) == (422, "port_name_too_long")


async def test_a_token_that_asks_for_ever_more_urls_holds_only_the_newest(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        paths = [await world.open() for _ in range(65)]
        assert status_of(await world.visit(paths[0])) == 403
        assert status_of(await world.visit(paths[1])) == 303


async def test_who_may_only_read_opens_nothing(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        token = await world.api.new_token("alice", (Scope.JOBS_READ,))
        reply = await world.api.call("POST", f"/v1/jobs/{world.job}/open", {"port": "web"}, token=token)
        assert (reply.status, reply.json["code"]) == (403, "scope_missing")
