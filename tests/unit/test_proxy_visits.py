"""Tickets and cookies: a cookie is good for what it was sealed for, and for nothing that differs in anything."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.proxy_visits import (
    MAX_COOKIES_TRIED,
    Page,
    Visit,
    cookie_name,
    cookies_named,
    is_ours,
    is_path,
    read_cookie,
    write_cookie,
)

KEY = bytes(range(32))
PAGE = Page("0190aaaa-0000-7000-8000-000000000001", 7, "web")
VISIT = Visit(7, "0123456789ab", 2_000)
COOKIE = write_cookie(VISIT, PAGE, KEY)


def read(
    value: str, job: str = PAGE.job, port: str = PAGE.port, key: bytes = KEY, now: float = 1_000.0
) -> Visit | None:
    return read_cookie([value], job, port, key, now)


def test_a_cookie_reads_as_it_was_written() -> None:
    assert read(COOKIE) == VISIT


def test_a_cookie_is_good_until_it_runs_out() -> None:
    assert read(COOKIE, now=1_999.9) == VISIT
    assert read(COOKIE, now=2_000.0) is None


def test_a_cookie_is_for_one_job_one_port_and_one_key() -> None:
    assert read(COOKIE, job="0190aaaa-0000-7000-8000-000000000002") is None
    assert read(COOKIE, port="other") is None
    assert read(COOKIE, key=bytes(32)) is None


@pytest.mark.parametrize(
    "changed", [replace(VISIT, seq=8), replace(VISIT, visitor="local"), replace(VISIT, expires_at=9_999)]
)
def test_nothing_that_a_cookie_says_can_be_changed(changed: Visit) -> None:
    seal = COOKIE.rpartition(".")[2]
    forged = f"1.{changed.seq}.{changed.expires_at}.{changed.visitor}.{seal}"
    assert read(forged) is None


@given(st.integers(0, len(COOKIE) - 1), st.characters(codec="ascii"))
def test_a_cookie_with_one_character_changed_is_never_good(at: int, sign: str) -> None:
    changed = COOKIE[:at] + sign + COOKIE[at + 1 :]
    assert changed == COOKIE or read(changed) is None


@given(st.text(max_size=300))
def test_no_text_is_a_cookie(text: str) -> None:
    assert read(text) is None


@given(
    st.integers(0, 10**9), st.integers(1, 10**12), st.from_regex(r"[0-9a-f]{12}|local", fullmatch=True), st.binary(min_size=32, max_size=32)
)  # fmt: skip
def test_any_cookie_reads_back_before_it_runs_out(
    seq: int, expires_at: int, visitor: str, key: bytes
) -> None:
    visit, page = Visit(seq, visitor, expires_at), replace(PAGE, seq=seq)
    assert read_cookie([write_cookie(visit, page, key)], page.job, page.port, key, expires_at - 1) == visit


def test_a_good_cookie_beside_one_that_another_page_set_is_found() -> None:
    assert read_cookie(["tossed", COOKIE], PAGE.job, PAGE.port, KEY, 1_000.0) == VISIT


def test_only_so_many_cookies_are_tried() -> None:
    many = ["tossed"] * MAX_COOKIES_TRIED + [COOKIE]
    assert read_cookie(many, PAGE.job, PAGE.port, KEY, 1_000.0) is None


def test_the_cookies_of_a_name_are_found_in_any_header() -> None:
    name = cookie_name("http")
    assert cookies_named([f"a=b; {name}=1", f"{name}=2;x", f"{name}x=3; {name.upper()}=4"], name) == [
        "1",
        "2",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "gpu-agent",
        "gpu-agent-page",
        "GPU-Agent-x",
        "__Host-gpu-agent-page",
        "__host-GPU-agent",
        "__Secure-gpu-agent",
        " gpu-agent-page ",
    ],
)
def test_names_that_are_ours(name: str) -> None:  # fmt: skip
    assert is_ours(name)
    assert is_ours(cookie_name("http"))
    assert is_ours(cookie_name("https"))


@pytest.mark.parametrize("name", ["session", "my-gpu-agent", "gpu", "__Host-session", ""])
def test_names_that_are_not(name: str) -> None:
    assert not is_ours(name)


@pytest.mark.parametrize("path", ["/", "/lab", "/lab?token=x", "/a/b.html#there", "/%2e%2e"])
def test_paths_of_a_page(path: str) -> None:
    assert is_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "lab",
        "//evil.org",
        "/\\evil.org",
        "/\\\\x",
        "/a b",
        "/a\r\nSet-Cookie: x",
        "/\x00",
        "/é",
        "https://evil.org/",
        "/" + "a" * 2002,
    ],
)
def test_what_is_no_path_of_a_page(path: str) -> None:  # fmt: skip
    assert not is_path(path)
