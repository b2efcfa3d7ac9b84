"""Uploads for people: the counts, the bar, what keeps a file, and what the command to send it again is; in 80 columns."""

from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from agent.cli.show.events import event_line
from agent.cli.show.jobs import WHY, job_view, why_of
from agent.cli.show.outputs import outputs_view
from agent.cli.show.uploads import counts_text, failed_notes, percent_of, stopped_text, upload_text
from tests.unit.test_cli_show import EXIT, JOB, NOW, REASON, TIME, job

MIB = 1 << 20
UPLOAD: dict[str, Any] = {
    "state": "sending", "files_done": 1, "files_total": 3, "files_failed": 0, "bytes_done": 47 * MIB, "bytes_total": 100 * MIB,
    "rate": 2 * MIB, "eta": 200.0, "last_error": None,
}  # fmt: skip
ERROR = {"code": "status_refused", "path": "a/b.bin", "status": 403, "blame": "user", "message": "the endpoint refused", "remedy": "Mend it.", "at": TIME}  # fmt: skip
NASTY = st.text(max_size=200)


def drawn(what: RenderableType, width: int = 80) -> list[str]:
    file = StringIO()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(what)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def upload(**changes: object) -> dict[str, Any]:
    return {**UPLOAD, **changes}


def complete(**changes: object) -> dict[str, Any]:
    whole = {"state": "complete", "files_done": 3, "bytes_done": 100 * MIB, "rate": None, "eta": None}
    return upload(**{**whole, **changes})


def test_while_files_leave_the_counts_the_share_the_rate_and_the_time_left_are_told() -> None:
    assert drawn(upload_text(UPLOAD)) == [
        "sending: 1 of 3 files, 47.0 MiB of 100.0 MiB",
        "47%  2.0 MiB/s, 3m left",
    ]
    assert drawn(upload_text(UPLOAD, 10)) == [
        "sending: 1 of 3 files, 47.0 MiB of 100.0 MiB",
        "████▊░░░░░ 47%  2.0 MiB/s, 3m left",
    ]
    uncounted = upload(files_done=0, files_total=None, bytes_done=0, bytes_total=None, rate=None, eta=None)
    assert drawn(upload_text(uncounted)) == ["sending: 0 files, 0 B so far"]


def test_what_keeps_files_is_told_with_the_file_and_the_way_out() -> None:
    failed = complete(state="partial", files_done=2, files_failed=1, bytes_done=99 * MIB, last_error=ERROR)
    assert drawn(upload_text(failed)) == [
        "partial: 2 of 3 files, 99.0 MiB of 100.0 MiB, 1 failed",
        "a/b.bin: the endpoint refused (403) [status_refused, blame user]",
        "→ Mend it.",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (upload(state="waiting", files_total=None, bytes_total=None), "waits for the job's end"),
        (upload(state="skipped"), "nothing is sent after this outcome (`outputs.on`)"),
        (complete(), "complete: 3 files, 100.0 MiB"),
        (complete(files_done=1, files_total=1), "complete: 1 file, 100.0 MiB"),
        (
            complete(files_done=0, files_total=0, bytes_done=0, bytes_total=0),
            "complete: 0 files, 0 B",
        ),
    ],
)
def test_each_other_state_is_one_line(given: dict[str, Any], told: str) -> None:
    assert drawn(upload_text(given, 10)) == [told]


def test_the_share_is_of_bytes_and_of_nothing_while_nothing_is_known() -> None:
    assert percent_of(UPLOAD) == 47
    assert percent_of(None) is None
    assert percent_of(complete()) is None
    assert percent_of(upload(bytes_total=None)) is None
    assert percent_of(upload(bytes_done=0, bytes_total=0)) == 0
    assert percent_of(upload(bytes_done=101, bytes_total=100)) == 100


def test_a_list_of_jobs_says_how_much_has_left_where_there_is_room_for_it() -> None:
    leaving = job(phase="uploading", outcome="succeeded", waiting_for=None, upload=UPLOAD)
    assert why_of(leaving) == "sent 47%"
    assert why_of({**leaving, "outcome": "failed", "reason": REASON, "exit": EXIT}) == "exit 3, sent 47%"
    long = {**REASON, "code": "w" * (WHY - 5)}
    assert why_of({**leaving, "outcome": "failed", "reason": long}) == long["code"]
    assert why_of({**leaving, "upload": complete(), "phase": "finished"}) == ""


def test_a_job_is_shown_with_its_upload_and_with_the_command_that_sends_what_is_left() -> None:
    leaving = job(phase="uploading", outcome="succeeded", waiting_for=None, upload=UPLOAD)
    lines = drawn(job_view(leaving, NOW, 10))
    assert "state    succeeded (its outputs leave)" in lines
    assert "upload   sending: 1 of 3 files, 47.0 MiB of 100.0 MiB" in lines
    assert "         ████▊░░░░░ 47%  2.0 MiB/s, 3m left" in lines
    assert not any("retry" in line for line in lines)
    left = {
        **leaving,
        "phase": "finished",
        "upload": complete(state="failed", files_done=0, last_error=ERROR),
    }
    assert f"send the rest: gpu-agent outputs retry {JOB['id']}" in drawn(job_view(left, NOW))
    assert not any(line.startswith("upload") for line in drawn(job_view(job(upload=None), NOW)))


FILE = {"path": "a/b.bin", "size": 200, "sha256": "ab" * 32, "modified_at": TIME, "mode": 0o644, "upload": None}  # fmt: skip


def page(*uploads: object) -> dict[str, Any]:
    files = [{**FILE, "path": f"f{number}", "upload": one} for number, one in enumerate(uploads)]
    return {"items": files, "skipped": [], "truncated": None, "next": None}


def test_each_output_says_whether_it_has_left() -> None:
    sent = {"state": "sent", "bytes_done": 200, "last_error": None}
    moving = {"state": "sending", "bytes_done": 94, "last_error": None}
    failed = {"state": "failed", "bytes_done": 0, "last_error": ERROR}
    partial = complete(state="partial", files_done=2, files_failed=1, last_error=ERROR)
    lines = drawn(outputs_view(page(sent, moving, failed, None), partial))
    assert [line.split()[-2:] for line in lines[1:5]] == [
        ["sent", "f0"], ["47%", "f1"], ["failed", "f2"], ["-", "f3"],
    ]  # fmt: skip
    assert "sending 47%" in lines[2]
    assert lines[5] == "did not leave: the endpoint refused (403): f2"
    assert lines[6] == "upload  partial: 2 of 3 files, 100.0 MiB of 100.0 MiB, 1 failed"
    assert "LEFT" not in drawn(outputs_view(page(None)))[0]


def test_of_many_files_with_one_fault_the_first_are_named_and_the_others_counted() -> None:
    other = {**ERROR, "code": "status_failed", "status": None, "message": "it failed"}
    fates = [{"state": "failed", "bytes_done": 0, "last_error": error} for error in [ERROR] * 5 + [other]]
    assert failed_notes(page(*fates)["items"]) == [
        "the endpoint refused (403): f0, f1, f2 and 2 more",
        "it failed: f5",
    ]


@given(NASTY, NASTY, st.integers(min_value=0, max_value=1 << 62), st.sampled_from(["sending", "partial"]))
def test_whatever_a_file_is_called_all_of_it_fits_80_columns(
    path: str, message: str, size: int, state: str
) -> None:
    error = {**ERROR, "path": path or None, "message": message}
    shown = upload(state=state, bytes_done=size, bytes_total=2 * size, rate=size, last_error=error)
    file = {**FILE, "path": path, "size": size, "upload": {"state": "failed", "bytes_done": 0, "last_error": error}}  # fmt: skip
    listed = {**page(), "items": [file]}
    for what in (job_view(job(upload=shown), NOW, 24), outputs_view(listed, shown)):
        assert all(cell_len(line) <= 80 for line in drawn(what, 80))
        assert "\x1b" not in "".join(drawn(what, 80))


def test_what_happens_to_an_upload_is_one_line_in_words() -> None:
    def told(kind: str, **data: object) -> str:
        event = {"seq": 5, "n": 5, "job": JOB["id"], "at": TIME, "type": kind, "data": upload(**data)}
        (line,) = drawn(event_line(event), 200)
        return line.partition("0190aaaa-bbbb  ")[2]

    assert told("upload.began", files_done=0) == "outputs leave: 3 files, 100.0 MiB"
    assert told("upload.progress") == "outputs sending: 1 of 3 files, 47.0 MiB of 100.0 MiB, 2.0 MiB/s"
    assert told("upload.progress", rate=None).endswith("100.0 MiB")
    assert told("upload.ended", **complete()) == "outputs complete: 3 files, 100.0 MiB"
    assert (
        told("upload.ended", state="partial", files_failed=2, last_error=ERROR)
        == "outputs partial: 1 of 3 files, 47.0 MiB of 100.0 MiB, 2 failed; a/b.bin: the endpoint refused (403)"
    )


def test_a_cancel_that_ends_an_upload_alone_says_that_the_outcome_stays() -> None:
    assert stopped_text(job(phase="stopping")) is None
    for phase in ("uploading", "finished"):
        told = stopped_text(job(phase=phase, outcome="failed"))
        assert told == "failed, and stays so; no more of its outputs are sent"


def test_counts_of_an_end_that_left_something_behind_name_both() -> None:
    assert counts_text(complete(files_done=2)) == "2 of 3 files, 100.0 MiB of 100.0 MiB"
