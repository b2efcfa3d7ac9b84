"""The dashboard's own part of the API: signing in and out, what a session's cookie opens and what not, and the files of the pages."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from http.cookies import SimpleCookie
from pathlib import Path

import aiohttp
import pytest

from agent.api.app import AUTH
from agent.api.auth import MAX_HELD_ANSWERS
from agent.api.dashboard.files import FILES, POLICY
from agent.api.sessions import MAX_SESSIONS_PER_TOKEN, Sessions
from agent.api.slowdown import FREE_FAILURES
from agent.api.tls import make_tls
from agent.api.tokens import Scope
from agent.core.browser_sessions import SESSION_SECONDS
from tests.certificates import make_certificates
from tests.fakes.clock import FakeClock
from tests.shell.api_world import BODY, ID, LONG, ApiWorld, Reply, api_world
from tests.shell.proxy_world import OK, header_of, proxy_world, status_of

PLAIN = "gpu-agent-session"
# What a browser may ask for without our page's help: reading only, and nothing of it is a page.
DOWNLOADS = {"/v1/jobs/{id}/outputs", "/v1/jobs/{id}/outputs/{path}", "/v1/jobs/{id}/logs"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


@dataclass(slots=True)
class Page:
    """Our page in a browser that has signed in: what it sends by itself, and what beside it."""

    world: ApiWorld
    cookie: str
    key: str

    async def call(self, method: str, path: str, body: object = None, **changes: str | None) -> Reply:
        """`changes` of the headers, with _ for -; None takes one away."""
        sent = {
            "Cookie": self.cookie,
            "X-Session-Key": self.key,
            "Sec-Fetch-Site": "same-origin",
            **({} if method == "GET" else {"Origin": self.world.url}),
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
        headers = {name: value for name, value in sent.items() if value is not None}
        return await self.world.call(method, path, body, token="", headers=headers)


async def ask_in(world: ApiWorld, token: object, **headers: str) -> Reply:
    sent = {"Origin": world.url, "Sec-Fetch-Site": "same-origin", **headers}
    return await world.call("POST", "/v1/session", {"token": token}, token="", headers=sent)


async def sign_in(world: ApiWorld, token: str | None = None) -> Page:
    reply = await ask_in(world, world.token if token is None else token)
    assert reply.status == 201, reply.raw
    return Page(world, reply.headers["Set-Cookie"].partition(";")[0], reply.json["key"])


# Signing in


async def test_a_token_is_exchanged_for_a_cookie_and_never_seen_again(world: ApiWorld) -> None:
    reply = await ask_in(world, f" {world.token}\n")
    assert reply.status == 201
    (cookie,) = SimpleCookie(reply.headers["Set-Cookie"]).values()
    assert (cookie.key, cookie["path"], cookie["domain"]) == (PLAIN, "/", "")
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Strict", "")
    assert (reply.json["principal"], reply.json["scopes"]) == ("alice", ["jobs:read", "jobs:write"])
    for secret in (world.token, world.token.split("_")[2]):
        assert secret not in reply.raw.decode() + str(reply.headers)
    assert cookie.value not in reply.raw.decode()


async def test_where_the_browser_speaks_tls_no_other_host_can_set_the_cookie(
    world: ApiWorld, tmp_path: Path
) -> None:
    before = await ask_in(world, world.token, Origin=world.url.replace("http", "https"))
    assert before.headers["Set-Cookie"].startswith("__Host-gpu-agent-session=")
    make_certificates(tmp_path)
    tls = make_tls(tmp_path / "s.pem", tmp_path / "s.key", None)
    async with api_world(tmp_path / "tls", tls=tls) as secure:
        assert secure.sites is not None
        assert secure.http is not None
        url = f"https://127.0.0.1:{secure.sites.port}"
        body, origin = {"token": secure.token}, {"Origin": url}
        async with secure.http.post(f"{url}/v1/session", json=body, headers=origin, ssl=False) as answer:
            cookie, key = answer.headers["Set-Cookie"], (await answer.json())["key"]
            assert cookie.startswith("__Host-gpu-agent-session=")
            assert cookie.endswith("; Secure")
        planted = cookie.partition(";")[0].removeprefix("__Host-")
        headers = {"Cookie": planted, "X-Session-Key": key}
        async with secure.http.get(f"{url}/v1/session", headers=headers, ssl=False) as answer:
            assert answer.status == 401


async def test_another_page_can_neither_try_tokens_nor_sign_its_visitor_in(world: ApiWorld) -> None:
    for headers in ({"Origin": "http://evil.org"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        reply = await ask_in(world, world.token, **headers)
        assert (reply.status, reply.json["code"]) == (403, "cookie_refused")
        assert "Set-Cookie" not in reply.headers
    without = await world.call("POST", "/v1/session", {"token": world.token}, token="")
    assert without.status == 403
    assert world.app[AUTH].failures == 0


async def test_failed_sign_ins_are_slowed_as_failed_tokens_are(world: ApiWorld) -> None:
    for _ in range(FREE_FAILURES):
        reply = await ask_in(world, "gat_bad")
        assert (reply.status, reply.json["code"]) == (401, "unauthorized")
        assert "gat_bad" not in reply.raw.decode()
    world.app[AUTH]._held_answers = MAX_HELD_ANSWERS
    assert (await ask_in(world, "gat_bad")).json["code"] == "too_many_failures"
    assert world.app[AUTH].failures == FREE_FAILURES + 1
    assert (await ask_in(world, world.token)).status == 201


@pytest.mark.parametrize("body", [{}, {"token": 7}, {"token": "gat_hush", "x": 1}, ["gat_hush"]])
async def test_what_can_not_be_read_as_a_token_is_not_repeated(world: ApiWorld, body: object) -> None:
    reply = await world.call("POST", "/v1/session", body, token="", headers={"Origin": world.url})
    assert reply.status == 400
    assert "hush" not in reply.raw.decode()


@pytest.mark.parametrize("chunked", [None, "chunked"])
async def test_who_has_shown_no_token_has_no_large_body_read(world: ApiWorld, chunked: str | None) -> None:
    body = b'{"x": [' + b",".join([b"{}"] * 300_000) + b"]}"

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    assert world.http is not None
    sent = {"Origin": world.url}
    data = body if chunked is None else pieces()
    async with world.http.post(f"{world.url}/v1/session", data=data, headers=sent) as answer:
        assert (answer.status, (await answer.json())["code"]) == (413, "body_too_large")


async def test_a_token_of_half_a_character_is_a_failed_one(world: ApiWorld) -> None:
    assert (await ask_in(world, "\ud800")).json["code"] == "unauthorized"
    assert world.app[AUTH].failures == 1


async def test_a_password_that_a_proxy_asks_for_keeps_nobody_from_a_session(world: ApiWorld) -> None:
    page = await sign_in(world)
    assert (await page.call("GET", "/v1/session", Authorization="Basic dTpw")).status == 200


async def test_an_expired_token_signs_nobody_in(world: ApiWorld) -> None:
    reply = await ask_in(world, await world.new_token("alice", expires_in=-1))
    assert (reply.status, reply.json["code"]) == (401, "token_expired")


# What a session may


async def test_a_session_may_what_its_token_may_and_no_more(world: ApiWorld) -> None:
    page = await sign_in(world)
    assert (await page.call("POST", "/v1/jobs", BODY)).status == 201
    reader = await sign_in(world, await world.new_token("bob", (Scope.JOBS_READ,)))
    assert (await reader.call("GET", "/v1/jobs")).json["items"] == []
    assert (await reader.call("POST", "/v1/jobs", BODY)).json["code"] == "scope_missing"
    told = (await reader.call("GET", "/v1/session")).json
    assert (told["principal"], told["scopes"], told["key"]) == ("bob", ["jobs:read"], None)


async def test_a_cookie_without_its_key_opens_nothing_but_downloads(world: ApiWorld) -> None:
    page = await sign_in(world)
    paths = (await page.call("GET", "/v1/openapi.json")).json["paths"]
    opened = set()
    for path, methods in paths.items():
        real = path.format(id=ID.format(1), path="x", uuid="GPU-1", name="web", function="f", file="app.js")
        for method in methods:
            if (method, path) == ("post", "/v1/session") or "Needs: open." in methods[method]["description"]:
                continue
            reply = await page.call(method.upper(), real, X_Session_Key=None)
            if reply.status != 403 or reply.json["code"] != "cookie_refused":
                opened.add(path)
    assert opened == DOWNLOADS


async def test_a_download_is_refused_to_another_page(world: ApiWorld) -> None:
    page = await sign_in(world)
    job_id = await world.submit()
    path = f"/v1/jobs/{job_id}/outputs?digest=none"
    assert (await page.call("GET", path, X_Session_Key=None)).status == 200
    for site in ("cross-site", "same-site"):
        reply = await page.call("GET", path, X_Session_Key=None, Sec_Fetch_Site=site)
        assert reply.json["code"] == "cookie_refused"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.org"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"X_Session_Key": None},
    ],
)
async def test_a_write_that_the_page_did_not_send_changes_nothing(
    world: ApiWorld, headers: dict[str, str | None]
) -> None:
    page = await sign_in(world)
    job_id = await world.submit()
    reply = await page.call("POST", f"/v1/jobs/{job_id}/cancel", **headers)
    assert (reply.status, reply.json["code"]) == (403, "cookie_refused")
    job = await world.store.read(job_id)
    assert job is not None
    assert job.job_stop is None
    assert (await page.call("POST", f"/v1/jobs/{job_id}/cancel")).status == 202


async def test_the_key_of_another_session_is_none(world: ApiWorld) -> None:
    page, other = await sign_in(world), await sign_in(world)
    reply = await page.call("GET", "/v1/jobs", X_Session_Key=other.key)
    assert (reply.status, reply.json["code"]) == (401, "session_ended")
    assert world.app[AUTH].failures == 1


async def test_a_planted_cookie_shows_nobody_the_session_of_another_and_locks_nobody_out(
    world: ApiWorld,
) -> None:
    page, planted = await sign_in(world), await sign_in(world, await world.new_token("mallory"))
    for cookie in (f"{planted.cookie}; {page.cookie}", f"{page.cookie}; {planted.cookie}"):
        assert (await page.call("GET", "/v1/session", Cookie=cookie)).json["principal"] == "alice"
    assert (await page.call("GET", "/v1/session", Cookie=planted.cookie)).status == 401


async def test_a_token_goes_before_a_cookie(world: ApiWorld) -> None:
    page = await sign_in(world)
    bob = await world.new_token("bob")
    headers = {"Cookie": page.cookie, "X-Session-Key": page.key}
    told = (await world.call("GET", "/v1/session", token=bob, headers=headers)).json
    assert (told["principal"], told["expires_at"]) == ("bob", None)
    assert (await world.call("GET", "/v1/session", token="gat_bad", headers=headers)).status == 401


# The end of a session


async def test_signing_out_ends_the_session_and_takes_the_cookie_away(world: ApiWorld) -> None:
    page, other = await sign_in(world), await sign_in(world)
    reply = await page.call("DELETE", "/v1/session")
    assert reply.status == 204
    ended = reply.headers.getall("Set-Cookie")
    assert all(cookie.partition(";")[0].endswith("=") and "Max-Age=0" in cookie for cookie in ended)
    assert {cookie.partition("=")[0] for cookie in ended} == {PLAIN, f"__Host-{PLAIN}"}
    assert (await page.call("GET", "/v1/jobs")).json["code"] == "session_ended"
    assert (await other.call("GET", "/v1/jobs")).status == 200


async def test_a_revoked_token_signs_out_at_once(world: ApiWorld) -> None:
    page = await sign_in(world)
    for token in await world.store.tokens():
        await world.store.remove_token(token.id)
    assert (await page.call("GET", "/v1/jobs")).json["code"] == "session_ended"


async def test_so_does_an_expired_one(world: ApiWorld) -> None:
    page = await sign_in(world, await world.new_token("alice", expires_in=60))
    assert (await page.call("GET", "/v1/jobs")).status == 200
    world.clock.started += 61
    assert (await page.call("GET", "/v1/jobs")).json["code"] == "session_ended"


async def test_a_session_ends_by_the_boot_clock_and_not_by_the_walls(world: ApiWorld) -> None:
    page = await sign_in(world)
    world.clock.started += 10 * SESSION_SECONDS
    assert (await page.call("GET", "/v1/jobs")).status == 200
    world.clock.asleep += SESSION_SECONDS
    assert (await page.call("GET", "/v1/jobs")).json["code"] == "session_ended"


async def test_a_stream_ends_with_its_session(tmp_path: Path) -> None:
    limits = replace(LONG, recheck_seconds=0.05, keep_alive_seconds=0.1)
    async with api_world(tmp_path, api_limits=limits) as world:
        page = await sign_in(world)
        assert world.http is not None
        headers = {"Cookie": page.cookie, "X-Session-Key": page.key}
        async with world.http.get(f"{world.url}/v1/events", headers=headers) as stream:
            assert await stream.content.readuntil(b"\n\n")
            assert (await page.call("DELETE", "/v1/session")).status == 204
            async with asyncio.timeout(10):
                with pytest.raises(aiohttp.ClientError):
                    await stream.content.read()


async def test_a_token_that_signs_in_again_and_again_loses_its_oldest_session() -> None:
    names = iter(map(str, range(1000)))
    sessions = Sessions(FakeClock(), lambda: next(names))
    first = sessions.open("one")
    others = [sessions.open("one") for _ in range(MAX_SESSIONS_PER_TOKEN)]
    kept = sessions.open("another")
    assert sessions.find([first.secret], first.key) is None
    assert all(sessions.find([opened.secret], opened.key) for opened in (*others, kept))


# The pages


async def test_every_file_comes_with_its_type_under_a_strict_policy_and_is_asked_for_anew(
    world: ApiWorld,
) -> None:
    for name, file in FILES.items():
        path = "/" if name == "index.html" else f"/dashboard/{name}"
        reply = await world.call("GET", path, token="")
        assert (reply.status, reply.raw, reply.headers["Content-Type"]) == (200, file.body, file.media)
        assert reply.headers["Content-Security-Policy"] == "; ".join(POLICY)
        assert reply.headers["Cache-Control"] == "no-cache"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        again = await world.call("GET", path, token="", headers={"If-None-Match": reply.headers["ETag"]})
        assert (again.status, again.raw) == (304, b"")


@pytest.mark.parametrize("name", ["x", "..%2Ffiles.py", "%2e%2e/files.py", "APP.JS", "app.js/", ""])
async def test_what_is_no_file_of_the_dashboard_is_not_there(world: ApiWorld, name: str) -> None:
    assert (await world.call("GET", f"/dashboard/{name}", token="")).status == 404


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline() -> None:
    rules = dict(rule.partition(" ")[::2] for rule in POLICY)
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert {rules[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
    assert rules["require-trusted-types-for"] == "'script'"
    assert not re.search(r"unsafe|\*|data:|https?:", " ".join(POLICY))


def test_the_pages_fetch_nothing_but_each_other_and_write_no_markup() -> None:
    index = FILES["index.html"].body.decode()
    assert set(re.findall(r'(?:src|href)="/dashboard/([^"]+)"', index)) <= FILES.keys()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]* src=)", index)
    scripts = {name: file.body.decode() for name, file in FILES.items() if name.endswith(".js")}
    for name, whole in scripts.items():
        text = whole.replace("http://www.w3.org/2000/svg", "")  # the name of a language, fetched by nobody
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= FILES.keys(), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|https?://\w", text), name  # fmt: skip
        assert text.startswith(f"// {name.removesuffix('.js')} — "), "its first line says what it is"


async def test_on_the_unix_socket_there_is_no_page_and_no_signing_in(world: ApiWorld) -> None:
    connector = aiohttp.UnixConnector(str(world.socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        for path in ("/", "/dashboard/app.js"):
            async with http.get(f"http://local{path}") as answer:
                assert answer.status == 404
        body, origin = {"token": world.token}, {"Origin": "http://local"}
        async with http.post("http://local/v1/session", json=body, headers=origin) as answer:
            assert answer.status == 404


async def test_switched_off_there_is_no_page_and_a_cookie_counts_for_nothing(tmp_path: Path) -> None:
    async with api_world(tmp_path, has_dashboard=False) as world:
        for path in ("/", "/dashboard/app.js"):
            assert (await world.call("GET", path, token="")).status == 404
        assert (await ask_in(world, world.token)).status == 404
        headers = {"Cookie": f"{PLAIN}=x", "X-Session-Key": "y"}
        reply = await world.call("GET", "/v1/jobs", token="", headers=headers)
        assert (reply.status, reply.json["code"]) == (401, "unauthorized")
        assert "/v1/session" not in (await world.call("GET", "/openapi.json")).json["paths"]


# Beside jobs' pages


async def test_a_jobs_port_by_path_is_not_opened_by_the_cookie_and_never_sees_it(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        page = await sign_in(world.api)
        world.side.answers(OK)
        reply = await page.call("GET", f"{world.base}/", X_Session_Key=None)
        assert (reply.status, reply.json["code"]) == (403, "cookie_refused")
        assert world.side.heads == []
        both = f"Cookie: a=b; {page.cookie}; __Host-{page.cookie}"
        assert status_of(await world.ask("/", "GET", both)) == 200
        assert world.side.header("cookie") == ["a=b"]
        assert page.cookie.partition("=")[2].encode() not in world.side.heads[0]
        assert page.key.encode() not in world.side.heads[0]


async def test_the_sessions_key_never_reaches_a_job_either(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        page = await sign_in(world.api)
        world.side.answers(OK)
        assert (await page.call("GET", f"{world.base}/")).status == 200
        assert page.key.encode() not in world.side.heads[0]
        assert world.side.header("cookie") == []


async def test_a_job_sets_no_cookie_of_the_dashboards_name(tmp_path: Path) -> None:
    async with proxy_world(tmp_path) as world:
        cookies = b"Set-Cookie: gpu-agent-session=x\r\nSet-Cookie: __host-GPU-agent-session=y; Secure\r\nSet-Cookie: a=b\r\n"
        world.side.answers(b"HTTP/1.1 200 OK\r\n" + cookies + b"Content-Length: 0\r\n\r\n")
        assert header_of(await world.ask(), "set-cookie") == [f"a=b; Path={world.base}/"]
