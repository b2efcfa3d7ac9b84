"""Which headers pass: nothing of ours to a job, nothing of a job's to another host."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.proxy_headers import (
    ByHost,
    ByPath,
    Sender,
    Way,
    accepts_websocket,
    for_the_client,
    for_the_job,
    pass_cookie,
    rewrite_location,
    websocket_key,
)
from agent.core.proxy_heads import BadRequestHeadError, Chunked, Header, Sized, values_of
from agent.core.proxy_visits import is_ours

PREFIX = "/v1/jobs/J/ports/web"
PATH = ByPath(PREFIX, "localhost:8080")
HOST = ByHost("web--j.jobs.localhost:8470")
SENDER = Sender("192.0.2.9", "https", "gpu.example.org")
NAMES = st.one_of(
    st.sampled_from(
        [
            "Authorization",
            "authorization",
            "AUTHORIZATION",
            "Proxy-Authorization",
            "Cookie",
            "Host",
            "host",
            "Forwarded",
            "X-Forwarded-For",
            "x_forwarded_for",
            "X-Forwarded-Host",
            "X-Forwarded-Anything",
            "X-Real-IP",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "HTTP2-Settings",
            "Content-Length",
            "Expect",
            "Via",
            "Accept",
            "Range",
            "X-Own",
        ]
    ),
    st.from_regex(r"[A-Za-z_-]{1,12}", fullmatch=True),
)
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)


def job_gets(*headers: Header, way: Way = PATH, key: str | None = None) -> list[Header]:
    return for_the_job(headers, Sized(0), SENDER, way, key)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12), st.sampled_from([PATH, HOST]))
def test_nothing_of_ours_and_nothing_of_one_hop_ever_reaches_a_job(headers: list[Header], way: Way) -> None:
    got = job_gets(*headers, way=way)
    names = [name.lower().replace("_", "-") for name, _ in got]
    for name in (
        "authorization",
        "proxy-authorization",
        "te",
        "trailer",
        "keep-alive",
        "upgrade",
        "http2-settings",
        "forwarded",
        "x-real-ip",
        "expect",
        "content-length",
        "transfer-encoding",
    ):
        assert name not in names
    assert values_of(got, "host") == [way.host]
    assert values_of(got, "connection") == ["close"]
    assert values_of(got, "x-forwarded-for") == ["192.0.2.9"]
    assert [name for name in names if name.startswith("x-forwarded-")].count("x-forwarded-for") == 1
    assert not any(sign in value for _, value in got for sign in "\r\n\x00")


def test_what_is_the_clients_own_passes_as_it_is() -> None:
    own = [
        ("Accept", "*/*"),
        ("Range", "bytes=1-2"),
        ("If-None-Match", '"x"'),
        ("Origin", "http://x"),
        ("X-CSRF", "1"),
        ("x-own", "2"),
    ]
    got = job_gets(*own)
    assert [header for header in got if header in own] == own


def test_a_header_that_connection_names_ends_here() -> None:
    got = job_gets(
        ("Connection", "close, X-Secret"), ("X-Secret", "1"), ("Connection", "X-Other"), ("x-other", "2")
    )
    assert not values_of(got, "x-secret")
    assert not values_of(got, "x-other")


def test_connection_can_name_nothing_away_that_we_say() -> None:
    got = job_gets(("Connection", "X-Forwarded-For, Host, X-Forwarded-Proto"))
    assert values_of(got, "x-forwarded-for") == ["192.0.2.9"]
    assert values_of(got, "x-forwarded-proto") == ["https"]
    assert values_of(got, "host") == ["localhost:8080"]


def test_who_asks_over_the_unix_socket_has_no_address() -> None:
    assert not values_of(for_the_job([], Sized(0), Sender(None, "http", "x"), PATH, None), "x-forwarded-for")


def test_by_path_the_job_is_told_where_it_lies() -> None:
    assert values_of(job_gets(), "x-forwarded-prefix") == [PREFIX]
    assert values_of(job_gets(way=HOST), "x-forwarded-prefix") == []


def test_our_cookies_are_taken_out_of_whatever_they_stand_in() -> None:
    got = job_gets(
        ("Cookie", 'a=1; gpu-agent-page=secret; b="x'),
        ("Cookie", "__Host-gpu-agent-page=secret"),
        ("cookie", "GPU-AGENT=secret;c=2"),
    )
    assert values_of(got, "cookie") == ['a=1; b="x; c=2']


@given(st.lists(st.tuples(st.text('gpu-aetsx_ "=', max_size=12), st.text('ab"= ', max_size=5)), max_size=6))
def test_no_cookie_of_ours_is_ever_among_those_a_job_gets(pairs: list[tuple[str, str]]) -> None:
    header = ";".join(f"{name}={value}" for name, value in pairs)
    for cookies in values_of(job_gets(("Cookie", header)), "cookie"):
        assert not any(is_ours(pair.partition("=")[0]) for pair in cookies.split(";"))


@pytest.mark.parametrize(
    ("framing", "expected"),
    [(Sized(0), []), (Sized(7), [("Content-Length", "7")]), (Chunked(), [("Transfer-Encoding", "chunked")])],
)
def test_a_body_is_framed_by_us(framing: Sized | Chunked, expected: list[Header]) -> None:  # fmt: skip
    got = for_the_job([("Content-Length", "9"), ("Transfer-Encoding", "gzip")], framing, SENDER, PATH, None)
    assert [header for header in got if header[0] in {"Content-Length", "Transfer-Encoding"}] == expected


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SHAKE = [
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
]


def test_a_handshake_is_known_by_its_key_and_passed_on() -> None:
    assert websocket_key("GET", SHAKE) == KEY
    got = job_gets(
        *SHAKE,
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        key=KEY,
    )
    assert values_of(got, "connection") == ["Upgrade"]
    assert values_of(got, "upgrade") == ["websocket"]
    assert values_of(got, "sec-websocket-key") == [KEY]
    assert values_of(got, "sec-websocket-protocol") == ["chat, superchat"]
    assert values_of(got, "sec-websocket-extensions") == ["permessage-deflate"]


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "websocketx", ""])
def test_another_upgrade_is_no_handshake_and_ends_here(upgrade: str) -> None:
    headers = [
        ("Upgrade", upgrade),
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("HTTP2-Settings", "AAMAAABk"),
    ]
    assert websocket_key("GET", headers) is None
    assert [name for name, _ in job_gets(*headers)] == [
        "Host",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-For",
        "X-Forwarded-Prefix",
        "Connection",
    ]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", SHAKE),
        ("GET", SHAKE[:1]),
        ("GET", [*SHAKE[1:], ("Upgrade", "websocket, h2c")]),
        ("GET", [*SHAKE[:2], ("Sec-WebSocket-Version", "13")]),
        ("GET", [*SHAKE[:2], ("Sec-WebSocket-Key", "short"), SHAKE[3]]),
        ("GET", [*SHAKE, ("Sec-WebSocket-Key", KEY)]),
        ("GET", [*SHAKE[:3], ("Sec-WebSocket-Version", "12")]),
        ("GET", [*SHAKE, ("Content-Length", "5")]),
        ("GET", [*SHAKE, ("Transfer-Encoding", "chunked")]),
    ],
)
def test_half_of_a_handshake_is_refused(method: str, headers: list[Header]) -> None:
    with pytest.raises(BadRequestHeadError):
        websocket_key(method, headers)


def test_an_answer_to_a_handshake_is_known_by_its_digest() -> None:
    good = [
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]  # RFC 6455, 1.3
    assert accepts_websocket(good, KEY)
    assert not accepts_websocket(good[1:], KEY)
    assert not accepts_websocket([good[0], ("Sec-WebSocket-Accept", "x")], KEY)
    assert not accepts_websocket(good, "AAAAAAAAAAAAAAAAAAAAAA==")


@pytest.mark.parametrize("way", [PATH, HOST])
@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Upgrade", "Proxy-Authenticate", "WWW-Authenticate", "Clear-Site-Data", "Alt-Svc", "Service-Worker-Allowed", "X-Accel-Redirect", "X-Accel-Anything", "X-Sendfile", "X-Named"],
)  # fmt: skip
def test_what_of_an_answer_ends_here(name: str, way: Way) -> None:
    got = for_the_client([("Connection", "X-Named"), (name, "x"), ("Kept", "y")], way)
    assert not values_of(got, name.lower())
    assert values_of(got, "kept") == ["y"]


def test_by_path_an_answer_is_in_a_sandbox_whatever_it_says_of_itself() -> None:
    got = for_the_client([("Content-Security-Policy", "default-src *")], PATH)
    assert values_of(got, "content-security-policy") == ["default-src *", "sandbox"]


@pytest.mark.parametrize("name", ["Strict-Transport-Security", "NEL", "Report-To", "Accept-CH"])
def test_by_path_a_job_sets_no_rules_for_the_agents_host(name: str) -> None:
    assert not values_of(for_the_client([(name, "x")], PATH), name.lower())
    assert values_of(for_the_client([(name, "x")], HOST), name.lower()) == ["x"]


def test_by_host_no_other_page_may_embed_it_whatever_it_says_of_itself() -> None:
    got = for_the_client(
        [("Content-Security-Policy", "frame-ancestors *"), ("cross-origin-resource-policy", "cross-origin")],
        HOST,
    )
    assert values_of(got, "content-security-policy") == ["frame-ancestors *", "frame-ancestors 'self'"]
    assert values_of(got, "cross-origin-resource-policy") == ["same-origin"]


def test_by_host_a_page_keeps_its_own_process_and_no_shared_cache_keeps_it() -> None:
    assert values_of(for_the_client([], HOST), "origin-agent-cluster") == ["?1"]
    assert values_of(for_the_client([], HOST), "cache-control") == ["private, no-cache"]
    assert values_of(for_the_client([("cache-control", "max-age=9")], HOST), "cache-control") == ["max-age=9"]


@pytest.mark.parametrize(
    ("given", "by_host", "by_path"),
    [
        ("a=b", "a=b", f"a=b; Path={PREFIX}/"),
        ("a=b; Domain=example.org; HttpOnly", "a=b; HttpOnly", f"a=b; HttpOnly; Path={PREFIX}/"),
        ("a=b;DOMAIN = .jobs.localhost ;Path=/x", "a=b;Path=/x", f"a=b; Path={PREFIX}/"),
        ("a=b; domain; path=/; Secure", "a=b; path=/; Secure", f"a=b; Secure; Path={PREFIX}/"),
        ("a=b=c; Max-Age=5", "a=b=c; Max-Age=5", f"a=b=c; Max-Age=5; Path={PREFIX}/"),
    ],
)
def test_a_jobs_cookie_is_for_its_own_host_and_by_path_for_its_own_paths(
    given: str, by_host: str, by_path: str
) -> None:
    assert pass_cookie(given, HOST) == by_host
    assert pass_cookie(given, PATH) == by_path


@pytest.mark.parametrize(
    "given",
    [
        "gpu-agent-page=x",
        "__Host-gpu-agent-page=x",
        "GPU-agent=x; Path=/",
        "=gpu-agent-page=x",
        "gpu-agent-page",
        "",
        " =x",
        "a b=c",
        'a"=c',
        "; Domain=x",
    ],
)
@pytest.mark.parametrize("way", [PATH, HOST])
def test_a_cookie_of_ours_or_without_a_name_is_never_set_by_a_job(given: str, way: Way) -> None:  # fmt: skip
    assert pass_cookie(given, way) is None
    assert for_the_client([("Set-Cookie", given)], way)[:1] != [("Set-Cookie", given)]


@given(
    st.text(st.characters(codec="ascii", exclude_characters="\r\n\x00"), max_size=60),
    st.sampled_from([PATH, HOST]),
)
def test_no_cookie_that_passes_names_a_domain(value: str, way: Way) -> None:
    passed = pass_cookie(f"a=b;{value}", way)
    assert passed is None or not any(
        part.partition("=")[0].strip().lower() == "domain" for part in passed.split(";")[1:]
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/login", f"{PREFIX}/login"),
        ("/", f"{PREFIX}/"),
        ("http://localhost:8080/a?b#c", f"{PREFIX}/a?b#c"),
        ("https://LOCALHOST:8080", f"{PREFIX}/"),
        ("http://localhost:8080?x", f"{PREFIX}/?x"),
        ("login", "login"),
        ("../x", "../x"),
        ("?x", "?x"),
        ("", ""),
        ("http://localhost:8081/", "http://localhost:8081/"),
        ("http://localhost:8080@evil.org/", "http://localhost:8080@evil.org/"),
        ("https://elsewhere.org/", "https://elsewhere.org/"),
        ("//elsewhere.org/x", "//elsewhere.org/x"),
        ("/\\elsewhere.org/x", "/\\elsewhere.org/x"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("http://[bad", "http://[bad"),
    ],
)
def test_by_path_a_redirect_within_the_page_stays_there_and_others_are_left(
    given: str, expected: str
) -> None:
    assert rewrite_location(given, PATH) == expected
    assert values_of(for_the_client([("Location", given)], HOST), "location") == [given]
