"""How a function says that it ended: read from what a job sends, which may be anything, and kept as one line."""

import pytest

from agent.core.finish import BadFinishError, Fault, Finish, dump_header, load_header, read_finish
from agent.core.function import FaultKind, Report, ReportStatus

ERROR = {
    "kind": "payload",
    "type": "TypeError",
    "message": "no such name",
    "traceback": "Traceback",
    "status_code": 404,
    "detail": "gone",
}


def test_a_success_has_a_result_of_so_many_bytes_and_perhaps_a_note() -> None:
    assert read_finish({"status": "succeeded", "bytes": 5, "note": "its repr"}) == (
        Finish(ReportStatus.SUCCEEDED, "its repr"),
        5,
    )


def test_a_failure_says_why() -> None:
    finish, size = read_finish({"status": "failed", "bytes": 0, "error": ERROR})
    assert (size, finish.fault) == (
        0,
        Fault(FaultKind.PAYLOAD, "TypeError", "no such name", "Traceback", 404, "gone"),
    )
    assert finish.report == Report(ReportStatus.FAILED, FaultKind.PAYLOAD, "TypeError", "no such name")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"status": "succeeded"},
        {"status": "succeeded", "bytes": -1},
        {"status": "succeeded", "bytes": True},
        {"status": "succeeded", "bytes": "1"},
        {"status": "succeeded", "bytes": 100 << 20},
        {"status": "failed", "bytes": 1},
        {"status": "done", "bytes": 0},
        {"status": ["succeeded"], "bytes": 0},
    ],
)
def test_what_can_not_be_followed_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadFinishError):
        read_finish(fields)


@pytest.mark.parametrize(
    "error", [None, "x", {}, {"kind": 5, "message": []}, {"kind": "nonsense", "status_code": True}]
)
def test_a_failure_that_is_badly_said_is_one_all_the_same(error: object) -> None:
    finish, _ = read_finish({"status": "failed", "bytes": 0, "error": error})
    assert finish.fault == Fault(FaultKind.RAISED, "", "", "")


@pytest.mark.parametrize(
    "finish",
    [
        Finish(ReportStatus.SUCCEEDED),
        Finish(ReportStatus.SUCCEEDED, "line\nend"),
        read_finish({"status": "failed", "bytes": 0, "error": ERROR})[0],
        read_finish(
            {
                "status": "failed",
                "bytes": 0,
                "error": {"message": "\ud800" * 9000, "traceback": "\n" * 99_000},
            }
        )[0],
    ],
)
def test_what_is_kept_is_one_line_and_reads_the_same(finish: Finish) -> None:
    line = dump_header(finish)
    assert b"\n" not in line
    assert len(line) < 200_000
    assert load_header(line) == finish


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"null", b'{"status":"failed"}', b"\xff", b'{"status":"failed","note":null,"fault":{}}'],
)
def test_a_damaged_line_says_nothing(line: bytes) -> None:
    assert load_header(line) is None
