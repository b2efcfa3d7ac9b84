"""A finished job as an exit code."""

from itertools import product
from typing import Any

import pytest

from agent.cli.exits import exit_code_of
from agent.core.job import Outcome
from agent.core.reasons import CATALOGUE, reason


def job(outcome: str, code: int | None = None, why: str | None = None) -> dict[str, Any]:
    told = None if why is None else {"code": why, "phase": reason(why).phase.value}
    return {"outcome": outcome, "reason": told, "exit": None if code is None else {"code": code}}


@pytest.mark.parametrize(
    ("finished", "code"),
    [
        (job("succeeded", 0), 0),
        (job("failed", 3, "exit_nonzero"), 3),
        (job("failed", 137, "out_of_memory"), 137),
        (job("failed", 139, "killed_by_signal"), 139),
        (job("failed", None, "command_not_found"), 127),
        (job("failed", None, "command_not_executable"), 126),
        (job("failed", None, "image_not_found"), 125),
        (job("failed", 0, "internal_error"), 125),
        (job("timed_out", 143, "timeout"), 124),
        (job("cancelled", 143, "cancelled"), 130),
        (job("lost", 137, "engine_stopped"), 125),
    ],
)
def test_the_jobs_own_code_counts_and_ours_where_it_has_none(finished: dict[str, Any], code: int) -> None:
    assert exit_code_of(finished) == code


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED])
def test_only_success_is_zero(outcome: Outcome) -> None:
    for code, why in product([None, 0, 1], [None, *CATALOGUE]):
        assert 0 < exit_code_of(job(outcome.value, code, why)) < 256, (code, why)
