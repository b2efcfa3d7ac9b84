"""When a browser's request may act by its session cookie, and what that cookie is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.browser_sessions import (
    MAX_COOKIES_TRIED,
    end_cookies,
    find_foreign,
    is_own_origin,
    session_cookies,
    write_cookie,
)
from agent.core.proxy_visits import is_ours

HOST = {"host": "gpu.example.org:8470"}
OWN = {**HOST, "origin": "http://gpu.example.org:8470"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", HOST),  # a reading from the page itself: browsers send no Origin with it
        ("GET", {**HOST, "sec-fetch-site": "same-origin"}),
        ("GET", {**HOST, "sec-fetch-site": "none"}),
        ("GET", OWN),
        ("POST", OWN),
        ("POST", {**OWN, "sec-fetch-site": "same-origin"}),
        ("DELETE", {**HOST, "origin": "http://GPU.example.org:8470"}),
        ("POST", {**HOST, "origin": "https://gpu.example.org:8470"}),  # something before us speaks TLS
    ],
)
def test_our_own_page_may(method: str, headers: dict[str, str]) -> None:
    assert find_foreign(method, headers, is_encrypted=False) is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", HOST),  # a browser says where a write comes from
        ("DELETE", {**HOST, "sec-fetch-site": "same-origin"}),
        ("POST", {**HOST, "origin": "null"}),  # a page in a sandbox, as those of jobs by path are
        ("GET", {**HOST, "origin": "null"}),
        ("POST", {**HOST, "origin": ""}),
        ("POST", {**HOST, "origin": "http://gpu.example.org"}),
        ("POST", {**HOST, "origin": "http://gpu.example.org:20001"}),  # a job's own port of this host
        ("POST", {**HOST, "origin": "http://evil.example.org:8470"}),
        ("POST", {**HOST, "origin": "http://gpu.example.org:8470.evil.org"}),
        ("POST", {"origin": "http://"}),
        ("POST", {**OWN, "sec-fetch-site": "same-site"}),
        ("GET", {**HOST, "sec-fetch-site": "same-site"}),
        ("GET", {**HOST, "sec-fetch-site": "cross-site"}),
        ("GET", {**HOST, "sec-fetch-site": "whatever comes next"}),
    ],
)
def test_anothers_page_may_not(method: str, headers: dict[str, str]) -> None:
    assert find_foreign(method, headers, is_encrypted=False)


def test_by_our_own_tls_a_page_without_it_is_anothers() -> None:
    assert find_foreign("POST", OWN, is_encrypted=True)
    assert find_foreign("POST", {**HOST, "origin": "https://gpu.example.org:8470"}, is_encrypted=True) is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_origin_is_ours_but_those_of_the_two_schemes(origin: str, host: str) -> None:
    if is_own_origin(origin, host, is_encrypted=False):
        assert origin.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}


def test_no_script_reads_the_cookie_and_no_other_site_sends_it() -> None:
    plain = write_cookie("s3cret", "http://gpu.example.org:8470")
    assert plain == "gpu-agent-session=s3cret; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    secure = write_cookie("s3cret", "https://gpu.example.org")
    assert (
        secure == "__Host-gpu-agent-session=s3cret; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"
    )
    for cookie in (plain, secure, *end_cookies()):
        assert "domain" not in cookie.lower()
        assert is_ours(cookie.partition("=")[0]), "the proxy strips what is ours"


def test_by_tls_only_a_cookie_counts_that_no_other_host_can_plant() -> None:
    given_cookies = ["a=b; gpu-agent-session=planted", "__Host-gpu-agent-session=own"]
    for is_encrypted in (True, False):  # something before us may speak it
        assert session_cookies(given_cookies, is_encrypted=is_encrypted) == ["own"]
    assert session_cookies(given_cookies[:1], is_encrypted=True) == []
    assert session_cookies(given_cookies[:1], is_encrypted=False) == ["planted"]


def test_so_many_cookies_are_looked_at_and_no_more() -> None:
    many = "; ".join(["gpu-agent-session=x"] * 1000)
    assert len(session_cookies([many], is_encrypted=False)) == MAX_COOKIES_TRIED
