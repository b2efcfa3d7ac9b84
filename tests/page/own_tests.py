"""Tests of tests/page/chute.py as an author would write them: the ideas of the decorator reference's testing section, and real tests where
it leaves two empty. Run by tests/unit/sdk/test_testing_section.py, in a run of their own.
"""

import asyncio
from unittest.mock import AsyncMock

import pytest

from chutes.chute import Chute
from chutes.testing import Children, LocalRunner


class TestJobs:
    @pytest.mark.asyncio
    async def test_a_simple_job(self, chute_instance: Chute) -> None:
        assert (await chute_instance.simple_task())["status"] == "completed"

    @pytest.mark.asyncio
    async def test_a_job_with_parameters(self, chute_instance: Chute) -> None:
        result = await chute_instance.process_user_data("ada", {"b": 1, "a": 2})
        assert result == {"user_id": "ada", "result": {"processed": ["a", "b"]}}

    @pytest.mark.asyncio
    async def test_a_replaced_method_is_felt_in_the_job(self, chute_instance: Chute) -> None:
        chute_instance.process_data = AsyncMock(side_effect=ValueError("no such task"))
        result = await chute_instance.robust_job_with_error_handling("t1")
        assert (result["status"], result["error"], result["message"]) == (
            "failed",
            "invalid_input",
            "no such task",
        )

    @pytest.mark.asyncio
    async def test_a_replaced_method_is_gone_in_the_next_test(self, chute_instance: Chute) -> None:
        assert (await chute_instance.robust_job_with_error_handling("t1"))["status"] == "success"

    @pytest.mark.asyncio
    async def test_a_timeout(self, chute_instance: Chute) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(chute_instance.long_running_job(), timeout=0.05)

    def test_a_timeout_as_the_platform_has_it(self, chute_instance: Chute) -> None:
        assert LocalRunner(chute_instance, timeout=0.05).run("long_running_job").outcome == "timed_out"

    def test_a_lost_connection_is_tried_again(self, chute_instance: Chute) -> None:
        chute_instance.process_data = AsyncMock(
            side_effect=[ConnectionError("reset"), ConnectionError("reset"), {"ok": True}]
        )
        result = LocalRunner(chute_instance).run("robust_job", {"task_id": "t1"})
        assert (result.outcome, result.value["result"]) == ("succeeded", {"ok": True})
        assert [attempt.outcome for attempt in result.attempts] == ["failed", "failed", "succeeded"]
        assert result.statuses == {"t1": "completed"}

    def test_a_connection_that_stays_lost_fails_it(self, chute_instance: Chute) -> None:
        chute_instance.process_data = AsyncMock(side_effect=ConnectionError("reset"))
        result = LocalRunner(chute_instance).run("robust_job", {"task_id": "t1"})
        assert (result.outcome, len(result.attempts), result.statuses) == ("failed", 4, {"t1": "retrying"})

    def test_an_unfit_task_is_an_answer_and_not_tried_again(self, chute_instance: Chute) -> None:
        chute_instance.process_data = AsyncMock(side_effect=ValueError("no such task"))
        result = LocalRunner(chute_instance).run("robust_job", {"task_id": "t1"})
        assert (result.outcome, result.value["status"], len(result.attempts)) == ("succeeded", "failed", 1)


@pytest.mark.integration
async def test_the_steps_of_a_workflow_one_by_one(chute_instance: Chute) -> None:
    first = await chute_instance.workflow_step_1("w1")
    second = await chute_instance.workflow_step_2("w1", first)
    assert await chute_instance.workflow_final_step("w1", [first, second]) == {"steps": [1, 2]}


@pytest.mark.integration
def test_the_workflow_as_jobs_that_start_each_other(chute_instance: Chute) -> None:
    first = LocalRunner(chute_instance, children=Children.RUN).run("workflow_step_1", {"workflow_id": "w1"})
    (second,) = first.children
    (final,) = second.children
    assert (final.name, final.value, final.statuses) == (
        "workflow_step_final",
        {"steps": [1, 2]},
        {"w1": "2 steps"},
    )


@pytest.mark.integration
def test_a_scheduled_job_runs_without_a_payload_as_its_schedule_would_run_it(chute_instance: Chute) -> None:
    scheduled = [name for name, job in chute_instance.jobs.items() if job.schedule]
    assert scheduled
    for name in scheduled:
        assert LocalRunner(chute_instance).run(name).outcome == "succeeded"
