"""LocalRunner: a job runs in this process as it would on the platform."""

import asyncio
import gc
import pickle
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from chutes import PermanentError
from chutes.chute import Chute
from chutes.chute.job import Port
from chutes.testing import LocalRunner, loops
from tests.unit.sdk.chutes_for_tests import make_chute

SHORT = 0.05


@pytest.fixture
def chute() -> Chute:
    return make_chute()


def test_a_job_is_run_with_its_payload_and_gives_what_it_returned(chute: Chute) -> None:
    @chute.job(name="add")
    async def add_numbers(self: Chute, left: int, right: int = 1) -> dict[str, int]:
        return {"sum": left + right}

    result = LocalRunner(chute).run("add", {"left": 2})
    assert (result.outcome, result.value, result.error) == ("succeeded", {"sum": 3}, None)


async def test_in_a_coroutine_it_is_awaited(chute: Chute) -> None:
    @chute.job()
    async def work(self: Chute) -> int:
        return 7

    with pytest.raises(RuntimeError, match="await run_async"):
        LocalRunner(chute).run("work")
    assert (await LocalRunner(chute).run_async("work")).value == 7


async def test_two_jobs_at_a_time_are_refused(chute: Chute) -> None:
    @chute.job()
    async def work(self: Chute) -> int:
        await asyncio.sleep(SHORT)
        return 1

    runner = LocalRunner(chute)
    first, second = await asyncio.gather(
        runner.run_async("work"), runner.run_async("work"), return_exceptions=True
    )
    assert isinstance(second, RuntimeError)
    assert not isinstance(first, BaseException)
    assert (first.value, (await runner.run_async("work")).value) == (1, 1)


def test_a_payload_that_does_not_fit_fails_with_the_signature_before_anything_runs(chute: Chute) -> None:
    seen: list[str] = []

    @chute.on_startup()
    def start(chute: Chute) -> None:
        seen.append("startup")

    @chute.job(retry_count=3)
    async def work(self: Chute, items: list[int], limit: int) -> None:
        seen.append("work")

    result = LocalRunner(chute).run("work", {"items": []})
    assert result.outcome == "failed"
    assert result.error is not None
    assert result.error.kind == "payload"
    assert "limit" in result.error.message
    assert (len(result.attempts), seen) == (1, [])


def test_hooks_run_around_the_function_by_their_priority(chute: Chute) -> None:
    seen: list[str] = []

    @chute.on_startup(priority=90)
    async def late(self: Chute) -> None:
        seen.append("late")

    @chute.on_startup(priority=10)
    def early(self: Chute) -> None:
        seen.append("early")

    @chute.on_shutdown()
    async def last(self: Chute) -> None:
        seen.append("last")

    @chute.job()
    def work(self: Chute) -> None:
        seen.append("work")

    LocalRunner(chute).run("work")
    assert seen == ["early", "late", "work", "last"]


def test_a_startup_hook_that_raises_fails_the_attempt_and_the_shutdown_hooks_run(chute: Chute) -> None:
    seen: list[str] = []

    @chute.on_startup()
    def start(self: Chute) -> None:
        raise OSError("no model there")

    @chute.on_shutdown()
    def end(self: Chute) -> None:
        seen.append("end")

    @chute.job()
    async def work(self: Chute) -> None:
        seen.append("work")

    result = LocalRunner(chute).run("work")
    assert result.error is not None
    assert (result.error.kind, result.error.message, seen) == ("startup", "no model there", ["end"])


@pytest.mark.parametrize("error", [OSError, SystemExit])
def test_a_shutdown_hook_that_raises_changes_nothing(
    chute: Chute, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    @chute.on_shutdown()
    def end(self: Chute) -> None:
        raise error("too late")

    @chute.job()
    async def work(self: Chute) -> int:
        return 1

    assert LocalRunner(chute).run("work").outcome == "succeeded"
    assert "too late" in caplog.text


def test_what_raises_is_tried_again_within_its_retry_count(chute: Chute) -> None:
    @chute.job(retry_count=2)
    async def flaky(self: Chute) -> int:
        if self.attempt < 3:
            raise ConnectionError(f"attempt {self.attempt}")
        return int(self.attempt)

    result = LocalRunner(chute).run("flaky")
    assert (result.outcome, result.value) == ("succeeded", 3)
    assert [each.error and each.error.message for each in result.attempts] == ["attempt 1", "attempt 2", None]


def test_the_last_failure_is_told_once_the_attempts_are_used_up(chute: Chute) -> None:
    @chute.job(retry_count=1)
    async def broken(self: Chute) -> None:
        raise ValueError(f"attempt {self.attempt}")

    result = LocalRunner(chute).run("broken")
    assert (result.outcome, len(result.attempts)) == ("failed", 2)
    assert result.error is not None
    assert (result.error.kind, result.error.type, result.error.message) == (
        "raised",
        "ValueError",
        "attempt 2",
    )
    assert isinstance(result.error.exception, ValueError)


def test_a_traceback_begins_in_the_authors_code(chute: Chute) -> None:
    @chute.job()
    async def broken(self: Chute) -> None:
        raise ValueError("no")

    error = LocalRunner(chute).run("broken").error
    assert error is not None
    assert error.traceback.count("File ") == 1
    assert __file__ in error.traceback


def test_a_permanent_error_is_not_tried_again(chute: Chute) -> None:
    @chute.job(retry_count=5)
    async def hopeless(self: Chute) -> None:
        raise PermanentError("never")

    result = LocalRunner(chute).run("hopeless")
    assert result.error is not None
    assert (result.error.kind, len(result.attempts)) == ("permanent", 1)


def test_a_backoff_waits_longer_before_each_retry(chute: Chute) -> None:
    @chute.job(retry_count=2)
    async def broken(self: Chute) -> None:
        raise ValueError

    began = time.monotonic()
    LocalRunner(chute, backoff=SHORT).run("broken")
    assert time.monotonic() - began >= 3 * SHORT


@pytest.mark.parametrize(
    ("given", "outcome", "code"), [(None, "succeeded", None), (0, "succeeded", None), (3, "failed", 3), ("no", "failed", 1)]
)  # fmt: skip
@pytest.mark.parametrize("kind", ["async def", "def"])
def test_sys_exit_is_an_exit_of_the_job_and_not_of_the_tests(
    chute: Chute, kind: str, given: object, outcome: str, code: int | None
) -> None:
    async def leave_async(self: Chute) -> None:
        sys.exit(given)  # type: ignore[arg-type]  # anything, as the function takes it

    def leave(self: Chute) -> None:
        sys.exit(given)  # type: ignore[arg-type]  # as above

    chute.job(name="leave")(leave if kind == "def" else leave_async)
    result = LocalRunner(chute).run("leave")
    assert (result.outcome, result.error and result.error.exit_code) == (outcome, code)


def test_any_exception_is_a_result(chute: Chute) -> None:
    class Odd(BaseException):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @chute.job()
    async def odd(self: Chute) -> None:
        raise Odd

    result = LocalRunner(chute).run("odd")
    assert result.error is not None
    assert (result.outcome, result.error.kind, result.error.type) == ("failed", "raised", "Odd")


def test_time_that_is_up_is_told_first_and_then_cancels(chute: Chute) -> None:
    seen: list[object] = []

    @chute.job(retry_count=1)
    async def slow(self: Chute) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(self.should_shutdown)
            raise

    result = LocalRunner(chute, timeout=SHORT, grace=SHORT).run("slow")
    assert (result.outcome, seen) == ("timed_out", [True, True])
    assert result.error is not None
    assert result.error.kind == "cancelled"


def test_whatever_waits_in_the_loop_is_cancelled_whether_its_function_is_a_coroutines_or_not(
    chute: Chute,
) -> None:
    async def wait() -> None:
        await asyncio.sleep(60)

    @chute.job()
    def wrapped(self: Chute) -> object:
        return wait()

    @chute.job()
    def plain(self: Chute) -> None: ...

    ends = [LocalRunner(chute, timeout=SHORT, grace=SHORT).run("wrapped")]
    chute.on_startup()(lambda self: wait())
    ends.append(LocalRunner(chute, timeout=SHORT, grace=SHORT).run("plain"))
    assert [(each.outcome, each.error and each.error.kind) for each in ends] == [
        ("timed_out", "cancelled"), ("timed_out", "cancelled"),
    ]  # fmt: skip


def test_a_job_that_looks_at_should_shutdown_ends_by_itself(chute: Chute) -> None:
    @chute.job()
    async def patient(self: Chute) -> str:
        while not self.should_shutdown:
            await asyncio.sleep(0.001)
        return "saved"

    result = LocalRunner(chute, timeout=SHORT).run("patient")
    assert (result.outcome, result.value, result.error) == ("timed_out", "saved", None)


def test_a_plain_function_sees_should_shutdown_too_and_has_the_whole_grace(chute: Chute) -> None:
    @chute.job()
    def patient(self: Chute) -> str:
        while not self.should_shutdown:
            time.sleep(0.001)
        time.sleep(0.6)
        return "saved"

    result = LocalRunner(chute, timeout=SHORT, grace=1.0).run("patient")
    assert (result.outcome, result.value) == ("timed_out", "saved")


def test_what_does_not_stop_is_left_behind_and_not_tried_again_beside_itself(chute: Chute) -> None:
    ends: list[bool] = []

    @chute.job(retry_count=5)
    def stubborn(self: Chute) -> None:
        while not ends:
            time.sleep(0.001)

    began = time.monotonic()
    result = LocalRunner(chute, timeout=SHORT, grace=SHORT).run("stubborn")
    ends.append(True)
    assert (result.outcome, len(result.attempts)) == ("timed_out", 1)
    assert time.monotonic() - began < 2


def test_what_does_not_stop_says_where_it_is(chute: Chute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LEAVE_SECONDS", SHORT)
    ends: list[bool] = []

    def inner() -> None:
        while not ends:
            time.sleep(0.001)

    @chute.job()
    def plain(self: Chute) -> None:
        inner()

    @chute.job()
    async def waiting(self: Chute) -> None:
        while not ends:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    for name, place in (("plain", "in inner"), ("waiting", "in waiting")):
        error = LocalRunner(chute, timeout=SHORT, grace=SHORT).run(name).error
        assert error is not None
        assert (error.kind, error.type) == ("cancelled", "StillRunningError")
        assert place in error.traceback
        assert "chutes/testing" not in error.traceback
    ends.append(True)


def test_a_coroutine_that_swallows_its_cancellation_holds_nothing_up(
    chute: Chute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "LEAVE_SECONDS", SHORT)

    @chute.job()
    async def stubborn(self: Chute) -> None:
        for _ in range(5):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    began = time.monotonic()
    assert LocalRunner(chute, timeout=SHORT, grace=SHORT).run("stubborn").outcome == "timed_out"
    assert time.monotonic() - began < 3


def test_a_function_that_holds_the_loop_up_past_its_time_has_timed_out(chute: Chute) -> None:
    @chute.job()
    async def blocking(self: Chute) -> int:
        time.sleep(2 * SHORT)  # noqa: ASYNC251 - as authors do
        return 1

    assert LocalRunner(chute, timeout=SHORT).run("blocking").outcome == "timed_out"


def test_a_tuple_comes_back_as_json_has_it(chute: Chute) -> None:
    @chute.job()
    async def work(self: Chute) -> object:
        return {"pair": (1, 2), 3: None}

    assert LocalRunner(chute).run("work").value == {"pair": [1, 2], "3": None}


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(("value", "told"), [(b"ab", "b'ab'"), (float("nan"), "nan"), (Silent(), "Silent")])
def test_what_no_json_can_hold_becomes_its_repr_and_a_note_says_so(
    chute: Chute, value: object, told: str
) -> None:
    @chute.job()
    async def work(self: Chute) -> object:
        return value

    result = LocalRunner(chute).run("work")
    assert result.outcome == "succeeded"
    assert told in result.value
    assert result.note is not None


def test_a_result_beyond_what_a_host_keeps_fails_for_good(chute: Chute) -> None:
    @chute.job(retry_count=3)
    async def work(self: Chute) -> str:
        return "x" * (8 << 20)

    result = LocalRunner(chute).run("work")
    assert result.error is not None
    assert (result.outcome, result.error.kind, len(result.attempts)) == ("failed", "result_too_large", 1)


def test_outputs_stay_from_attempt_to_attempt_and_are_there_with_the_result(chute: Chute) -> None:
    @chute.job(retry_count=1)
    async def work(self: Chute, **job_data: object) -> None:
        folder = Path(job_data["output_dir"])
        if self.attempt == 1:
            (folder / "deep").mkdir()
            (folder / "deep" / "checkpoint").write_text("half")
            raise ValueError
        (folder / "model").write_text((folder / "deep" / "checkpoint").read_text() + " done")

    result = LocalRunner(chute).run("work")
    assert list(result.outputs) == ["deep/checkpoint", "model"]
    assert result.outputs["model"].read_text() == "half done"


def test_a_temporary_folder_goes_with_the_result_and_the_chute() -> None:
    chute = make_chute()

    @chute.job()
    async def work(self: Chute, output_dir: str) -> None:
        (Path(output_dir) / "file").write_text("x")

    folder = LocalRunner(chute).run("work").output_dir
    assert folder.exists()
    del chute, work
    gc.collect()
    assert not folder.exists()


def test_a_folder_that_is_given_keeps_the_outputs(chute: Chute, tmp_path: Path) -> None:
    @chute.job()
    async def work(self: Chute) -> None:
        (Path(self.output_dir) / "file").write_text("x")

    LocalRunner(chute, output_dir=tmp_path).run("work")
    assert (tmp_path / "file").read_text() == "x"


def test_what_an_attempt_set_on_the_chute_is_gone_for_the_next_and_the_last_ones_can_be_seen(
    chute: Chute,
) -> None:
    chute.given = "by the test"

    @chute.job(retry_count=1)
    async def work(self: Chute) -> list[str]:
        found = [
            name for name in ("given", "left", "also") if hasattr(self, name) or hasattr(self.state, name)
        ]
        self.left, self.state.also, self.given = self.attempt, 1, "by the job"
        if self.attempt == 1:
            raise ValueError
        return found

    assert LocalRunner(chute).run("work").value == ["given"]
    assert (chute.left, chute.given) == (2, "by the job")


def test_progress_metrics_and_statuses_can_be_read(chute: Chute) -> None:
    @chute.job()
    async def work(self: Chute) -> None:
        await self.update_job_progress(job_id=self.current_job_id, progress=50, message="half")
        await self.record_metric("loss", 0.5)
        await self.record_metric("kind", "text")
        await self.update_job_status("part", "done")

    result = LocalRunner(chute).run("work")
    assert [(each.percent, each.message) for each in result.progress] == [(50, "half")]
    assert result.metrics == [("loss", 0.5), ("kind", "text")]
    assert result.statuses == {"part": "done"}


def test_a_method_that_the_test_has_replaced_is_the_one_that_is_called(chute: Chute) -> None:
    @chute.job()
    async def work(self: Chute) -> object:
        return await self.fetch()

    async def fetch() -> str:
        return "fetched"

    chute.fetch = fetch
    assert LocalRunner(chute).run("work").value == "fetched"


def test_a_stop_out_of_the_jobs_own_code_cancels_it(chute: Chute) -> None:
    runner = LocalRunner(chute, grace=SHORT)

    @chute.job(retry_count=3)
    async def work(self: Chute) -> bool:
        runner.stop()
        while not self.should_shutdown:
            await asyncio.sleep(0)
        return True

    result = runner.run("work")
    assert (result.outcome, result.value, len(result.attempts)) == ("cancelled", True, 1)


def test_a_stop_before_the_start_runs_nothing_and_holds_for_one_run(chute: Chute) -> None:
    runner = LocalRunner(chute)

    @chute.job()
    async def work(self: Chute) -> int:
        return 1

    runner.stop()
    assert (runner.run("work").outcome, runner.run("work").outcome) == ("cancelled", "succeeded")


def test_a_stop_between_two_attempts_leaves_no_other(chute: Chute) -> None:
    told: list[str] = []

    def tell(kind: str, facts: object) -> None:
        told.append(kind)
        if kind == "ended":
            runner.stop()

    runner = LocalRunner(chute, backoff=60, tell=tell)

    @chute.job(retry_count=3)
    async def work(self: Chute) -> None:
        raise ValueError

    result = runner.run("work")
    assert (result.outcome, told) == ("cancelled", ["attempt", "ended"])


async def test_a_test_that_is_cancelled_takes_the_job_with_it(chute: Chute) -> None:
    seen: list[str] = []

    @chute.job()
    async def work(self: Chute) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("ended")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(LocalRunner(chute, grace=SHORT).run_async("work"), SHORT)
    assert seen == ["ended"]


def test_an_unknown_job_is_told_with_those_that_there_are(chute: Chute) -> None:
    @chute.job(name="known")
    async def work(self: Chute) -> None: ...

    with pytest.raises(LookupError, match=r"no job 'work'; its jobs are: known"):
        LocalRunner(chute).run("work")


@pytest.mark.parametrize("payload", [[1], {"a": object()}, {"a": float("nan")}, {"a": "x" * (1 << 20)}])
def test_a_payload_that_no_host_would_take_is_refused(chute: Chute, payload: object) -> None:
    @chute.job()
    async def work(self: Chute, **rest: object) -> None: ...

    with pytest.raises(ValueError, match="payload"):
        LocalRunner(chute).run("work", payload)


def test_ports_have_their_own_numbers_unless_the_test_has_others(chute: Chute) -> None:
    @chute.job(ports=[Port(name="web", port=8080, proto="http"), Port(name="raw", port=9000, proto="tcp")])
    async def serve(self: Chute) -> object:
        return {port["name"]: port["port"] for port in self.job_ports}

    assert LocalRunner(chute, ports={"web": 18080}).run("serve").value == {"web": 18080, "raw": 9000}


async def hand_over(self: Chute) -> None:
    pickle.dumps(self)


def test_a_chute_handed_to_another_process_is_refused_as_on_a_host(chute: Chute) -> None:
    chute.job()(hand_over)
    error = LocalRunner(chute).run("hand_over").error
    assert error is not None
    assert "hand over a function of the module" in error.message
