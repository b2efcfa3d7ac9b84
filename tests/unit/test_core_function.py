"""What a function's report makes of the outcome, what its container gets, and what its folder keeps of the call."""

from dataclasses import replace

import pytest

from agent.core.container import Mount
from agent.core.function import FaultKind, FunctionCall, Report, ReportStatus
from agent.core.job import ExitFacts, Job, Kind, Run, Stop, StopCause, Verdict
from agent.core.outcome import decide_outcome
from agent.core.plan import FunctionMounts, Mounted, plan
from agent.core.retry import close
from agent.errors import Phase
from agent.interfaces import NewJob
from agent.jobs.record import read_record, write_record
from tests.unit.core_values import WALL, make_job
from tests.unit.test_core_plan import HANDOVER, OUTPUTS, POLICY

VERSION = "22222222-0000-7000-8000-000000000001"
CALL = FunctionCall("trainer", VERSION, "train", "main.py", parent="p", depth=1)
RETURNED = Report(ReportStatus.SUCCEEDED)
CANCEL, TIMEOUT = Stop(StopCause.CANCEL, WALL), Stop(StopCause.TIMEOUT, WALL)
LOST = ExitFacts(Verdict.LOST, 0, started_at=WALL, finished_at=WALL + 10, lost_code="engine_stopped")


def failed(kind: FaultKind) -> Report:
    return Report(ReportStatus.FAILED, kind, "ValueError", "no such column")


def own(code: int, *, oom: bool = False) -> ExitFacts:
    return ExitFacts(Verdict.OWN, code, oom, started_at=WALL, finished_at=WALL + 10)


def stopping(report: Report | None, facts: ExitFacts, **columns: object) -> Job:
    job = make_job(
        {"timeout": 30, "retry": {"count": 1}}, kind=Kind.FUNCTION, call=CALL, phase=Phase.STOPPING
    )
    run = Run(exit=facts, report=report, signalled_at=WALL if columns else None)
    return replace(job, run=run, **columns)  # type: ignore[arg-type] # fields of Job


CASES = [
    (RETURNED, own(0), "succeeded", None),
    (None, own(0), "failed", "no_result"),
    (None, own(3), "failed", "exit_nonzero"),
    (None, own(139), "failed", "killed_by_signal"),
    (RETURNED, own(139), "failed", "killed_by_signal"),
    (RETURNED, own(137, oom=True), "failed", "out_of_memory"),
    (failed(FaultKind.RAISED), own(137, oom=True), "failed", "out_of_memory"),
    (RETURNED, LOST, "lost", "engine_stopped"),
    (failed(FaultKind.RAISED), own(0), "failed", "function_raised"),
    (failed(FaultKind.RAISED), own(1), "failed", "function_raised"),
    (failed(FaultKind.CANCELLED), own(1), "failed", "function_raised"),
    (failed(FaultKind.PERMANENT), own(1), "failed", "function_refused"),
    (failed(FaultKind.PAYLOAD), own(1), "failed", "payload_mismatch"),
    (failed(FaultKind.IMPORT), own(1), "failed", "chute_import_failed"),
    (failed(FaultKind.STARTUP), own(1), "failed", "startup_failed"),
    (failed(FaultKind.EXIT), own(3), "failed", "exit_nonzero"),
    (failed(FaultKind.RESULT_TOO_LARGE), own(1), "failed", "result_too_large"),
]


@pytest.mark.parametrize(("report", "facts", "outcome", "code"), CASES)
def test_the_exit_and_the_report_make_the_outcome(
    report: Report | None, facts: ExitFacts, outcome: str, code: str | None
) -> None:
    decided, why = decide_outcome(stopping(report, facts))
    assert (decided.value, why.code if why else None) == (outcome, code)


@pytest.mark.parametrize("report", [None, RETURNED, failed(FaultKind.CANCELLED)])
def test_a_stop_says_why_the_job_ended_whatever_its_function_reports(report: Report | None) -> None:
    cancelled = decide_outcome(stopping(report, own(0), job_stop=CANCEL))
    timed_out = decide_outcome(stopping(report, own(1), attempt_stop=TIMEOUT))
    assert [decided.value for decided, _ in (cancelled, timed_out)] == ["cancelled", "timed_out"]


def test_the_reason_has_the_exceptions_own_words() -> None:
    _, why = decide_outcome(stopping(failed(FaultKind.RAISED), own(1)))
    assert why is not None
    assert why.message == "ValueError: no such column"


@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        (FaultKind.RAISED, Phase.QUEUED),
        (FaultKind.STARTUP, Phase.QUEUED),
        (FaultKind.EXIT, Phase.QUEUED),
        (FaultKind.PERMANENT, Phase.UPLOADING),
        (FaultKind.PAYLOAD, Phase.UPLOADING),
        (FaultKind.IMPORT, Phase.UPLOADING),
        (FaultKind.RESULT_TOO_LARGE, Phase.UPLOADING),
    ],
)
def test_what_would_fail_again_is_not_tried_again(kind: FaultKind, phase: Phase) -> None:
    assert close(stopping(failed(kind), own(1)), WALL, 0.5).job.phase is phase


def test_the_next_attempt_knows_nothing_of_the_last_ones_report() -> None:
    assert close(stopping(failed(FaultKind.RAISED), own(1)), WALL, 0.5).job.run.report is None


def test_a_function_gets_the_sdk_its_files_and_its_socket_read_only_and_stops_by_term() -> None:
    mounts = FunctionMounts("/run/sdk/1", "/state/chutes/v/files", "/state/jobs/j/sock")
    made = plan(make_job(call=CALL), POLICY, Mounted(OUTPUTS, None, None, mounts), HANDOVER)
    assert made.mounts[1:] == (
        Mount("/run/sdk/1", "/.agent/sdk", read_only=True),
        Mount("/state/chutes/v/files", "/.agent/chute", read_only=True),
        Mount("/state/jobs/j/sock", "/.agent/job", read_only=True),
    )
    assert (made.workdir, made.stop_signal) == ("/.agent/chute", "SIGTERM")


def test_a_workdir_of_the_spec_is_the_functions_too_and_a_container_job_keeps_its_images_signal() -> None:
    chosen = plan(make_job({"workdir": "/data"}, call=CALL), POLICY, Mounted(OUTPUTS, None, None), HANDOVER)
    plain = plan(make_job(), POLICY, Mounted(OUTPUTS, None, None), HANDOVER)
    assert (chosen.workdir, plain.workdir, plain.stop_signal) == ("/data", None, None)


@pytest.mark.parametrize("call", [CALL, None, replace(CALL, function=None, parent=None)])
def test_a_repair_finds_the_call_in_the_jobs_record(call: FunctionCall | None) -> None:
    spec = make_job().spec
    new = NewJob(make_job().id, "alice", Kind.FUNCTION, spec, 1.0, None, "d", call=call)
    assert read_record(write_record(new)).call == call


def test_a_record_with_a_call_of_another_form_is_no_record() -> None:
    text = write_record(
        NewJob(make_job().id, "alice", Kind.FUNCTION, make_job().spec, 1.0, None, "d", call=CALL)
    )
    with pytest.raises(ValueError, match="no job record"):
        read_record(text.replace('"attribute"', '"attributes"'))
