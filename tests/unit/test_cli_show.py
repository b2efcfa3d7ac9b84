"""Tables and lines for people: they fit 80 columns, whatever is in them, and nothing in them moves the cursor."""

import copy
import unicodedata
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from agent.cli.show.events import event_line
from agent.cli.show.host import TokenLine, checks_view, host_view, tokens_table
from agent.cli.show.jobs import (
    job_view,
    jobs_table,
    notify_text,
    port_text,
    short_id_width,
    why_of,
)
from agent.cli.show.outputs import outputs_view
from agent.cli.show.problems import show_problem
from agent.cli.show.words import clean, fit, one_line, size_text, span_text
from tests.tries import tries

NOW = 1_900_000_000.0
TIME = "2030-03-17T17:46:40.000Z"
JOB: dict[str, Any] = {
    "id": "0190aaaa-bbbb-7000-8000-000000000001",
    "name": None,
    "owner": "alice",
    "phase": "queued",
    "outcome": None,
    "reason": None,
    "attempt": 1,
    "attempts": [],
    "exit": None,
    "waiting_for": "ports",
    "waiting_words": None,
    "gpus": [],
    "ports": [],
    "queue": "default",
    "priority": 0,
    "labels": {},
    "image_digest": None,
    "created_at": TIME,
    "started_at": None,
    "finished_at": None,
    "spec": {
        "image": "busybox",
        "command": None,
        "entrypoint": None,
        "gpus": {"count": 0},
        "retry": {"count": 0},
    },
}
REASON = {"code": "exit_nonzero", "phase": "running", "blame": "user", "retryable": True, "message": "it exited", "remedy": "Read the log."}  # fmt: skip
EXIT = {"code": 3, "signal": None, "oom": False, "started_at": TIME, "finished_at": "2030-03-17T17:50:00.000Z", "peak_memory": 10_000_000, "gpu_seconds": 0.0}  # fmt: skip


def drawn(what: RenderableType, width: int = 80) -> list[str]:
    file = StringIO()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(what)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def job(**changes: object) -> dict[str, Any]:
    return {**copy.deepcopy(JOB), **changes}


def test_a_list_of_jobs_says_which_what_why_and_how_old() -> None:
    jobs = [
        job(),
        job(
            id="0190aaaa-bbbc-7000-8000-000000000002",
            name="digits",
            phase="running",
            attempt=2,
            waiting_for=None,
        ),
        job(
            id="0190aaaa-bbbd-7000-8000-000000000003",
            phase="finished",
            outcome="failed",
            reason=REASON,
            exit=EXIT,
        ),
    ]
    assert drawn(jobs_table(jobs, NOW, 80)) == [
        "ID             NAME     STATE    WHY        GPUS  AGE",
        "0190aaaa-bbbb  busybox  queued   for ports     0   0s",
        "0190aaaa-bbbc  digits   running  attempt 2     0   0s",
        "0190aaaa-bbbd  busybox  failed   exit 3        0   0s",
    ]


NASTY = st.text(max_size=200)


@settings(max_examples=tries(60))
@given(NASTY, NASTY, st.integers(min_value=0, max_value=10**6), st.floats(min_value=0, max_value=1e9))
def test_a_list_of_jobs_always_fits_80_columns(name: str, image: str, gpus: int, age: float) -> None:
    spec = {**JOB["spec"], "image": image, "gpus": {"count": gpus % 100}}
    listed = [job(name=name or None, spec=spec, waiting_for="not_before", phase="queued", attempt=gpus + 1)]
    table = jobs_table(listed, NOW + age, 80)
    file = StringIO()
    Console(file=file, width=300, highlight=False, markup=False, emoji=False).print(table)
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_a_wide_terminal_shows_more_of_the_name() -> None:
    listed = [job(name="n" * 100)]
    assert "n" * 28 + "…" in drawn(jobs_table(listed, NOW, 80))[1]
    assert "n" * 60 in drawn(jobs_table(listed, NOW, 150), 150)[1]


def test_ids_are_shown_as_long_as_it_takes_to_tell_them_apart() -> None:
    first, second = "0190aaaa-bbbb-7000-8000-000000000001", "0190aaaa-bbbb-7000-9000-000000000001"
    assert short_id_width([first]) == 13
    assert short_id_width([first, second]) == 20
    assert short_id_width([first, first]) == 13


def test_why_names_the_reason_where_there_is_one() -> None:
    assert why_of(job(phase="running", waiting_for=None)) == ""
    timeout = {**REASON, "code": "timeout"}
    assert why_of(job(phase="finished", outcome="timed_out", reason=timeout, exit=EXIT)) == "timeout"


def test_what_a_job_waits_for_is_told_in_words_where_there_are_some() -> None:
    waits = job(waiting_for="gpu_repair", waiting_words="GPU-1, which needs a reset")
    assert "state    queued (waiting for GPU-1, which needs a reset)" in drawn(job_view(waits, NOW))
    assert why_of(waits) == "for gpu_repair"
    assert "state    queued (waiting for ports)" in drawn(job_view(job(), NOW))


def test_a_job_is_shown_with_what_is_known_and_nothing_else() -> None:
    port = {"name": "web", "port": 8080, "proto": "http", "host": "127.0.0.1", "host_port": 20000, "external_host": None, "external_port": None, "url": "http://127.0.0.1:20000"}  # fmt: skip
    attempts = [
        {"number": number, "outcome": "failed", "reason": REASON, "exit": EXIT, "closed_at": TIME}
        for number in (1, 2)
    ]
    told = drawn(
        job_view(
            job(
                phase="finished",
                outcome="failed",
                reason=REASON,
                exit={**EXIT, "code": 137, "oom": True, "signal": 9},
                ports=[port],
                labels={"team": "a"},
                attempts=attempts,
                waiting_for=None,
            ),
            NOW,
        )
    )
    text = "\n".join(told)
    assert "exit code    137 (signal 9, out of memory)" in told
    assert "ports        web 8080/http → http://127.0.0.1:20000" in told
    assert "peak memory  9.5 MiB" in told
    assert "ran for      3m" in told
    assert "labels       team=a" in told
    assert "→ Read the log." in told
    assert "ATTEMPT" in text
    assert "name " not in text
    assert "None" not in text


def test_a_port_without_a_lease_leads_nowhere() -> None:
    nothing = dict.fromkeys(("host", "host_port", "external_host", "external_port", "url"))
    assert port_text({"name": "web", "port": 8080, "proto": "http", **nothing}) == "web 8080/http"
    outside = {**nothing, "host_port": 20000, "host": "127.0.0.1", "external_host": "gpu.example.org", "external_port": 40000}  # fmt: skip
    assert (
        port_text({"name": "raw", "port": 9000, "proto": "tcp", **outside})
        == "raw 9000/tcp → gpu.example.org:40000"
    )


def test_an_address_of_ipv6_is_told_from_its_port() -> None:
    port = {"name": "raw", "port": 9000, "proto": "udp", "host": "::1", "host_port": 20000, "external_host": None, "external_port": None, "url": None}  # fmt: skip
    assert port_text(port) == "raw 9000/udp → [::1]:20000"
    outside = {**port, "external_host": "2001:db8::7", "external_port": 40000}
    assert port_text(outside) == "raw 9000/udp → [2001:db8::7]:40000"


def test_an_event_is_one_line() -> None:
    data = {
        "from": "stopping",
        "to": "uploading",
        "attempt": 2,
        "outcome": "failed",
        "reason": "exit_nonzero",
    }
    moved = {"seq": 5, "n": 5, "job": JOB["id"], "at": TIME, "type": "job.phase", "data": data}
    (line,) = drawn(event_line(moved))
    assert line.endswith("0190aaaa-bbbb  stopping → uploading  attempt 2, failed, exit_nonzero")
    pulling = {
        "image": "busybox",
        "bytes_done": 1 << 20,
        "bytes_total": 3 << 20,
        "layers_done": 0,
        "layers_total": 1,
    }
    (line,) = drawn(event_line({**moved, "type": "image.progress", "data": pulling}))
    assert line.endswith("pulling busybox: 1.0 MiB of 3.0 MiB")
    (line,) = drawn(
        event_line({**moved, "type": "job.stop_requested", "data": {"cause": "cancelled", "x": None}})
    )
    assert line.endswith("job.stop_requested cause=cancelled")


def test_an_event_of_a_gpu_is_the_hosts_and_says_what_it_needs() -> None:
    data = {
        "gpu": "GPU-8a2c3b7e-5d1f-4e6a-9c0b-1f2e3d4c5b6a",
        "from": "ok",
        "to": "quarantined",
        "reason": "xid",
        "words": "XID 62\x1b[31m",
        "needs": ["probation", "reset"],
    }
    told = {"seq": 6, "n": None, "job": None, "at": TIME, "type": "gpu.state", "data": data}
    (line,) = drawn(event_line(told), 200)
    assert line.split("  ", 1)[1] == (
        f"host           {data['gpu']}  ok → quarantined  XID 62\\x1b[31m (needs probation, reset)"
    )
    well = {**data, "from": "suspect", "to": "ok", "reason": None, "words": "", "needs": []}
    (line,) = drawn(event_line({**told, "data": well}), 200)
    assert line.endswith("suspect → ok")


def test_every_fault_is_shown_with_its_rule_and_its_way_out() -> None:
    faults = [
        {
            "field": "ports.0.port",
            "code": "port_out_of_range",
            "message": "80 is too low",
            "remedy": "Take 8080.",
        },
        {"field": "[bold]image", "code": "x", "message": "is bad", "remedy": ""},
    ]
    document = {
        "code": "spec_refused",
        "detail": "a; b",
        "blame": "user",
        "remedy": "Correct them.",
        "faults": faults,
    }
    assert drawn(show_problem(document)) == [
        "✗ 2 faults (spec_refused: in what was asked)",
        "    ports.0.port 80 is too low [port_out_of_range]",
        "    → Take 8080.",
        "    [bold]image is bad [x]",
        "→ Correct them.",
    ]


def test_a_problem_of_an_unknown_kind_is_shown_as_far_as_it_goes() -> None:
    assert drawn(show_problem({"code": "new_one"})) == ["✗ new_one (new_one)"]
    assert drawn(show_problem({"code": "c", "detail": "one\ntwo", "blame": "host"})) == [
        "✗ one (c: of this host, not of your job)",
        "two",
    ]


def test_checks_have_a_sign_and_a_remedy_where_one_is_needed() -> None:
    checks = [
        {"name": "engine", "state": "ok", "since": NOW, "evidence": "answers", "remedy": "nothing"},
        {"name": "disk", "state": "warn", "since": NOW, "evidence": "5 GiB", "remedy": "Free some."},
        {"name": "live_restore", "state": "fail", "since": NOW, "evidence": "off", "remedy": "Turn it on."},
    ]
    assert drawn(checks_view(checks)) == [
        "✓  engine        answers",
        "!  disk          5 GiB",
        "                 → Free some.",
        "✗  live_restore  off",
        "                 → Turn it on.",
    ]


def test_tokens_fit_80_columns_with_all_their_scopes() -> None:
    scopes = ("jobs:read", "jobs:write", "jobs:all", "exec", "gpus:admin", "host:admin")
    lines = drawn(tokens_table([TokenLine("0123456789ab", "n" * 50, "p" * 50, scopes, NOW, None)]), 200)
    assert all(len(line) <= 80 for line in lines)
    assert all(any(scope in line for line in lines) for scope in scopes)


def test_a_host_without_its_engine_is_shown() -> None:
    host = {
        "agent": "a", "version": "1", "engine": None, "cpus": None, "memory": None, "state_free": 1 << 40,
        "gpus": [{"uuid": "GPU-1", "model": "H100", "memory": 80 << 30, "leased": True}],
        "ports": {"first": 1, "last": 9, "held": 1, "bad": 0, "free": 8}, "queues": {"default": {"concurrency": 8}},
        "jobs": {"queued": 0, "running": 2}, "limits": {"pids": 4096, "memory": 1 << 30, "cpus": None},
    }  # fmt: skip
    lines = drawn(host_view(host))
    assert "engine        does not answer" in lines
    assert "jobs          2 running" in lines
    assert "limits        pids 4096, memory 1.0 GiB" in lines
    assert "GPU-1  H100   80.0 GiB  yes" in lines, (
        "whether it is well is for `gpus ls`: the answer does not say"
    )


def test_outputs_say_what_cannot_be_had() -> None:
    page = {
        "items": [{"path": "a/b.txt", "size": 2048, "sha256": "ab" * 32, "modified_at": TIME, "mode": 0o644}],
        "skipped": [{"path": "link", "why": "is a link"}],
        "truncated": "files",
        "next": None,
    }
    lines = drawn(outputs_view(page))
    assert lines[1].startswith("2.0 KiB  abababababab  2030-03-1")
    assert lines[1].endswith("  a/b.txt")
    assert lines[2:] == ["not to be had: link (is a link)", "the list ends here: files"]


@given(NASTY)
def test_nothing_that_is_shown_moves_the_cursor_or_hides(text: str) -> None:
    shown = clean(text)
    assert not {unicodedata.category(one) for one in shown if one not in "\n\t"} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
        "Zp",
    }
    assert "\n" not in one_line(text)
    assert len(fit(text, 10)) <= 10


def test_escapes_of_a_terminal_are_shown_and_not_sent() -> None:
    assert clean("\x1b[2Jgone\u202e") == "\\x1b[2Jgone\\u202e"


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 30, "1.0 GiB"), ((1 << 20) - 1, "1.0 MiB"), (1 << 62, "4096.0 PiB")],
)  # fmt: skip
def test_sizes_have_a_unit_that_fits(count: int | None, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h00m"),
        (36000, "10h"),
        (86400 * 3, "3d"),
    ],
)
def test_spans_are_told_in_their_largest_units(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


TROUBLE = {"n": 2, "code": "status_failed", "status": 503, "blame": "user", "message": "it failed", "remedy": "See to it.", "at": TIME}  # fmt: skip


def notified(**changes: object) -> str | None:
    return notify_text(
        {"state": "open", "delivered": 3, "dropped": 0, "pending": 0, "last_error": None, **changes}
    )


def test_of_notifications_the_counts_are_told_and_the_last_failure_as_long_as_something_lacks() -> None:
    assert notify_text(None) is None
    assert notified() == "3 delivered"
    assert notified(last_error=TROUBLE) == "3 delivered"
    assert notified(pending=1, last_error=TROUBLE) == "3 delivered, 1 pending\nit failed (503)\n→ See to it."
    assert notified(dropped=2, state="complete") == "3 delivered, 2 given up"
    assert notified(state="gone") == "3 delivered, ended by the endpoint"
    shown = job_view(
        job(notify={"state": "open", "delivered": 1, "dropped": 0, "pending": 1, "last_error": TROUBLE}), NOW
    )
    assert any(line.startswith("notified") and "1 delivered, 1 pending" in line for line in drawn(shown))
