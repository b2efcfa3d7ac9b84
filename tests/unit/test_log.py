"""Logging: one way for all lines, and no secret on it."""

import io
import json
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from agent.log import MARK, PATTERNS, TELLTALE, URL_QUERY, Redactor, change_level, configure

PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nQyNTUx\n-----END OPENSSH PRIVATE KEY-----\n"


pytestmark = pytest.mark.usefixtures("restored_logging")


def written(
    act: Callable[[structlog.stdlib.BoundLogger], object],
    *,
    layout: Literal["console", "json"] = "json",
    level: str = "info",
    secrets: tuple[str, ...] = (),
) -> str:
    stream = io.StringIO()
    redactor = configure(level, layout, stream)
    for secret in secrets:
        redactor.add(secret)
    act(structlog.get_logger("agent.test"))
    return stream.getvalue()


def written_line(act: Callable[[structlog.stdlib.BoundLogger], object], *secrets: str) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(written(act, secrets=secrets))
    return line


def fail(text: str) -> None:
    raise RuntimeError(text)


# One way for all lines


def test_a_line_has_its_event_level_time_logger_and_fields() -> None:
    line = written_line(lambda log: log.info("job.started", job="j1", attempt=2))
    assert (line["event"], line["level"], line["logger"], line["job"], line["attempt"]) == (
        "job.started",
        "info",
        "agent.test",
        "j1",
        2,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["timestamp"])


def test_bound_context_is_on_lines_of_ours_and_of_libraries() -> None:
    with structlog.contextvars.bound_contextvars(job="j1"):
        text = written(
            lambda log: (log.info("job.started"), logging.getLogger("aiohttp.server").error("x %s", 1))
        )
    assert [json.loads(line)["job"] for line in text.splitlines()] == ["j1", "j1"]


def test_a_library_s_line_passes_the_same_processors() -> None:
    line = written_line(
        lambda _: logging.getLogger("docker.api").warning("Authorization: Bearer %s", "abcdef123456")
    )
    assert line["event"] == f"Authorization: {MARK}"
    assert (line["level"], line["logger"]) == ("warning", "docker.api")


def test_the_level_holds_and_can_be_changed_while_running() -> None:
    def act(log: structlog.stdlib.BoundLogger) -> None:
        log.info("too.quiet")
        change_level("debug")
        log.debug("loud.enough")
        logging.getLogger("lib").debug("lib.heard")

    events = [json.loads(line)["event"] for line in written(act, level="warning").splitlines()]
    assert events == ["loud.enough", "lib.heard"]


def test_requests_of_chatty_libraries_stay_out_even_at_debug() -> None:
    assert (
        written(lambda _: logging.getLogger("urllib3.connectionpool").debug("GET /x?sig=1"), level="debug")
        == ""
    )


def test_the_last_set_up_counts_and_lines_are_not_doubled() -> None:
    first = io.StringIO()
    configure("info", "json", first)
    assert written(lambda log: log.info("once")).count("\n") == 1
    assert first.getvalue() == ""


def test_a_line_on_no_terminal_has_no_colours() -> None:
    assert "\x1b" not in written(lambda log: log.info("job.started", job="j1"), layout="console")


def test_text_that_others_chose_can_neither_forge_a_line_nor_move_the_cursor() -> None:
    for hostile in ("x\x1b[2J", "x\x9b2J", "x\r2026-01-01 forged", "x\n2026-01-01 forged", "x\u2028forged"):
        text = written(
            lambda log, said=hostile: (log.info("job.named", name=said, more={"a": [said]}), log.info(said)),
            layout="console",
        )
        assert text.count("\n") == 2
        assert not set(text) & {"\x1b", "\r", "\x9b", "\u2028"}


def test_a_traceback_is_on_the_line_without_local_variables() -> None:
    def act(log: structlog.stdlib.BoundLogger) -> None:
        local = "in-a-local-variable"
        try:
            fail("password=hunter22")
        except RuntimeError:
            log.exception("job.failed", length=len(local))

    for layout in ("json", "console"):
        text = written(act, layout=layout)
        assert "RuntimeError" in text
        assert "Traceback" in text
        assert "in-a-local-variable" not in text.replace('local = "in-a-local-variable"', "")
        assert "hunter22" not in text.replace('fail("password=hunter22")', "")


def test_a_line_that_can_not_be_rendered_is_told_without_its_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = written(lambda _: logging.getLogger("lib").error("%d", "the-secret-argument"))
    assert text == "log.line-lost logger=lib error=TypeError\n"
    assert capsys.readouterr() == ("", "")


# Redaction by look


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Bearer abc.DEF-123_~+/=", "abc.DEF-123_~+/="),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("{'Authorization': 'Digest qop=\"x\"'}", "Digest"),
        ('{"Authorization": "opaque-value"}', "opaque-value"),
        ("('Authorization', 'opaque-value')", "opaque-value"),
        ('{\\"authorization\\": \\"opaque-value\\"}', "opaque-value"),
        ("X-Registry-Auth: eyJ1c2VybmFtZSI6", "eyJ1c2VybmFtZSI6"),
        ("Cookie: session=abcdef; other=ghi", "ghi"),
        ("PUT https://s3.example/b/k?X-Amz-Credential=AKIA1&X-Amz-Signature=feed failed", "feed"),
        ("https://s3.example/b/k?X-Amz-Credential=AKIA1&X-Amz-Signature=feed", "AKIA1"),
        ("https://acct.blob.example/c/o?sv=2024&sig=abc%2Bdef%3D", "abc%2Bdef%3D"),
        ("https://storage.example/o?GoogleAccessId=me&Signature=feed", "feed"),
        ("https://cdn.example/o?Policy=p0l1cy&Key-Pair-Id=kpid", "kpid"),
        ("https://x.example/?opaque=feed#part", "feed"),
        ("https://user:pass99@x.example/", "pass99"),
        ("GET /v1/events?token=feed&after=3 HTTP/1.1", "feed"),
        ("/v1/x?key=feed", "feed"),
        ("/v1/x?a=1&sig=feed", "feed"),
        ("login failed, password=hunter22", "hunter22"),
        ('"registry_password": "hunter22"', "hunter22"),
        ("HF_TOKEN=hf_abc", "hf_abc"),
        (f"key {PEM} end", "b3BlbnNzaC1rZXktdjEAAAAA"),
        (PEM.replace("OPENSSH ", "").replace("\n", "\\n"), "QyNTUx"),
        (PEM.partition("-----END")[0], "QyNTUx"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nfeed\n-----END ENCRYPTED PRIVATE KEY-----", "feed"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in Redactor().hide(text)
    for layout in ("json", "console"):
        assert secret not in written(lambda log: log.info(text, note=text, deep={"a": [text]}), layout=layout)


@pytest.mark.parametrize(
    "text",
    [
        "job.started",
        "https://docker.example/library/python:3.12",
        "GET /v1/jobs?phase=running&cursor=12 HTTP/1.1",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@laptop",
        "the bearer token was refused",
        "sha256:0123456789abcdef",
    ],
)
def test_what_an_operator_needs_stays(text: str) -> None:
    assert Redactor().hide(text) == text


def test_the_names_of_a_query_stay_so_that_the_url_can_be_recognised() -> None:
    hidden = Redactor().hide("https://s3.example/b/k?X-Amz-Date=1&X-Amz-Signature=feed")
    assert hidden == f"https://s3.example/b/k?X-Amz-Date={MARK}&X-Amz-Signature={MARK}"


@pytest.mark.slow
def test_long_hostile_text_does_not_hold_up_the_log() -> None:
    redactor = Redactor()
    for piece in (
        "http://",
        "a-",
        "?key=",
        "-----BEGIN PRIVATE KEY-----",
        "bearer ",
        "token",
        "https://a?",
        "x://a",
    ):
        begun = time.process_time()
        redactor.hide(piece * (200_000 // len(piece)))
        assert time.process_time() - begun < 5, piece  # ours takes 0.1 s; an unbounded repeat takes minutes


# Redaction by field


@pytest.mark.parametrize(
    "name",
    [
        *(
            "secret",
            "client_secret",
            "secrets",
            "password",
            "registry_password",
            "passwd",
            "token",
            "hf_token",
        ),
        *("TOKEN", "authorization", "Proxy-Authorization", "cookie", "api_key", "private_key"),
    ],
)
def test_a_field_whose_name_says_secret_is_hidden_at_any_depth(name: str) -> None:
    def act(log: structlog.stdlib.BoundLogger) -> None:
        log.info("x", **{name: "feed"})
        log.info("x", **{name: ["feed"]}, deep=[{"a": {name: "feed"}}])

    assert "feed" not in written(act)
    assert "feed" not in written(act, layout="console")


def test_values_of_any_kind_are_rendered_and_redacted() -> None:
    class Holder:
        def __repr__(self) -> str:
            return "Holder(token=feed)"

    endless: list[object] = []
    endless.append(endless)
    line = written_line(
        lambda log: log.info("x", a=Holder(), b=b"password=feed", c={1: ("u", None, 1.5)}, d=True, e=endless)
    )
    assert line["a"] == f"Holder(token={MARK}"
    assert "feed" not in str(line)
    assert (line["c"], line["d"]) == ({"1": ["u", None, 1.5]}, True)


# Registered secrets


@given(
    secret=st.text(min_size=4, max_size=40),
    before=st.text(max_size=6),
    after=st.text(max_size=6),
    layout=st.sampled_from(["console", "json"]),
)
@example(secret='quo"ted\nline', before="", after="", layout="json")
@example(secret="****", before="*", after="*", layout="json")
@example(secret="\\n\\n", before="", after="\n\n", layout="json")
@example(secret="12345", before="", after="", layout="json")
@example(secret="info", before="", after="", layout="json")
@example(secret="2026", before="", after="", layout="json")
@example(secret="line1\nline2\n", before="", after="", layout="console")
def test_a_registered_secret_never_reaches_the_output(
    secret: str, before: str, after: str, layout: Literal["console", "json"]
) -> None:
    text = before + secret + after

    def act(log: structlog.stdlib.BoundLogger) -> None:
        log.info(text, note=text, deep={"a": [text, {text: text}]}, raw=text.encode(), kind=Exception(text))
        log.info("plain %s", text)
        logging.getLogger("lib").error("said %s and %r", text, text)
        with structlog.contextvars.bound_contextvars(job=text):
            log.info("number", number=int(secret) if secret.isascii() and secret.isdigit() else 0)
        try:
            fail(text)
        except RuntimeError:
            log.exception("failed")
            logging.getLogger("lib").exception("failed")

    assert secret not in written(act, layout=layout, secrets=(secret,))


@given(st.lists(st.text('abcd*\\n"', min_size=4, max_size=9), min_size=2, max_size=5))
def test_secrets_that_are_parts_of_one_another_are_all_hidden(secrets: list[str]) -> None:
    text = written(lambda log: log.info("x", all=secrets, joined="".join(secrets)), secrets=tuple(secrets))
    assert not [secret for secret in secrets if secret in text]


def test_a_short_secret_is_hidden_where_it_stands_alone() -> None:
    line = written_line(lambda log: log.info("x", pin="on", text="only on mondays"), "on")
    assert (line["pin"], line["text"]) == (MARK, "only on mondays")


def test_a_secret_that_two_jobs_have_stays_hidden_until_both_are_gone() -> None:
    redactor = Redactor()
    redactor.add("hunter22")
    redactor.add("hunter22")
    redactor.remove("hunter22")
    assert redactor.hide("is hunter22") == f"is {MARK}"
    redactor.remove("hunter22")
    redactor.remove("hunter22")
    assert redactor.hide("is hunter22") == "is hunter22"


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [*PATTERNS, URL_QUERY], ids=lambda pattern: pattern.pattern[:40])
@given(st.data())
def test_whatever_a_pattern_hides_has_its_telltale(pattern: re.Pattern[str], data: st.DataObject) -> None:
    """Else a text would be let through before the pattern saw it."""
    assert TELLTALE.search(data.draw(st.from_regex(pattern)))


def test_a_line_that_nobody_wants_is_not_even_built() -> None:
    built = []

    class Dear:
        def __repr__(self) -> str:
            built.append(1)
            return "dear"

    assert written(lambda log: log.debug("dear", value=Dear())) == ""
    assert not built
    assert "dear" in written(lambda log: log.debug("dear", value=Dear()), level="debug")
    assert built


def test_the_secrets_of_a_thousand_jobs_are_added_and_removed_in_no_time_and_all_are_hidden() -> None:
    redactor, values = Redactor(), [f"hush-{number:05}-{number:05}" for number in range(4_000)]
    begun = time.process_time()
    for value in values:
        redactor.add(value)
    assert redactor.hide(f"a {values[0]} b {values[-1]}") == f"a {MARK} b {MARK}"
    for value in values[1:]:
        redactor.remove(value)
    assert time.process_time() - begun < 2
    assert redactor.hide(f"{values[0]} {values[1]}") == f"{MARK} {values[1]}"
