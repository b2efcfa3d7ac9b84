"""When a GPU is clean, and what is learnt as its idle level. What can't be told speaks against it."""

from typing import Any

import pytest

from agent.adapters.nvml.clean import MIB, MOST_IDLE_BYTES, SLACK_BYTES, idle_level, why_unclean


def health(**more: object) -> dict[str, Any]:
    return {"faults": {}, "used_bytes": 4 * MIB, **more}


def processes(**more: object) -> dict[str, Any]:
    return {"faults": {}, "used_bytes": 4 * MIB, "compute": {}, "graphics": {}, "processes": [], **more}


def test_a_gpu_that_tells_of_nothing_bad_is_clean() -> None:
    assert why_unclean(health(), processes(), None) is None


def test_an_instance_without_graphics_is_clean() -> None:
    sheet = processes(graphics=None, faults={"graphics": "not_supported"})
    assert why_unclean(health(), sheet, None) is None


@pytest.mark.parametrize(
    ("health_sheet", "processes_sheet"),
    [
        ({"faults": {"gpu": "skipped"}}, processes()),
        (health(), {"faults": {"gpu": "not_found"}}),
        (health(), processes(processes=[{"pid": 1, "used_bytes": None}])),
        (health(), processes(compute=None, faults={"compute": "not_supported"})),
        (health(), processes(graphics=None, faults={"graphics": "gpu_lost"})),
        (health(is_remap_pending=True), processes()),
        (health(is_retirement_pending=True), processes()),
        (health(has_remap_failed=True), processes()),
        (health(recovery_action=2), processes()),
        (health(used_bytes=None), processes()),
    ],
)
def test_each_doubt_speaks_against_it(health_sheet: dict[str, Any], processes_sheet: dict[str, Any]) -> None:
    assert why_unclean(health_sheet, processes_sheet, 0) is not None


@pytest.mark.parametrize(
    ("used_bytes", "idle_bytes", "is_clean"),
    [
        (MOST_IDLE_BYTES, None, True),
        (MOST_IDLE_BYTES + 1, None, False),
        (SLACK_BYTES, 0, True),
        (SLACK_BYTES + 1, 0, False),
        (100 * MIB + SLACK_BYTES, 100 * MIB, True),
    ],
)
def test_memory_is_back_at_idle_within_the_slack(
    used_bytes: int,
    idle_bytes: int | None,
    is_clean: bool,  # noqa: FBT001 - a column of a table
) -> None:
    assert (why_unclean(health(used_bytes=used_bytes), processes(), idle_bytes) is None) == is_clean


def test_idle_is_what_is_in_use_without_a_process() -> None:
    assert idle_level(processes(used_bytes=9)) == 9
    assert idle_level(processes(used_bytes=0, graphics=None)) == 0


@pytest.mark.parametrize(
    "sheet",
    [
        {"faults": {"gpu": "skipped"}},
        processes(used_bytes=None),
        processes(used_bytes=MOST_IDLE_BYTES + 1),
        processes(compute=None),
        processes(compute={"1": 5}),
        processes(graphics={"1": 5}),
    ],
)
def test_nothing_is_learnt_of_a_gpu_in_use_or_in_doubt(sheet: dict[str, Any]) -> None:
    assert idle_level(sheet) is None
