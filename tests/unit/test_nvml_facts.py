"""What the child reads of a GPU, in the core's words: nothing is made up, and nothing that the driver does not say is a fault."""

from typing import Any

import pytest

from agent.adapters.nvml.facts import facts_of, gate_of, links_up
from agent.core.gpu_findings import Absence, Fabric, Facts, GateVerdict, Recovery, Slowdown

NOTHING: dict[str, Any] = {"faults": {}}
MIB = 1 << 20


def sheet(**values: object) -> dict[str, Any]:
    return {"faults": {}, **values}


def test_a_driver_that_says_nothing_finds_no_fault() -> None:
    assert facts_of(NOTHING, frozenset()) == Facts(recovery=Recovery.NONE)


@pytest.mark.parametrize(
    ("fault", "absence"),
    [("gpu_lost", Absence.GONE), ("not_found", Absence.GONE), ("skipped", Absence.DRIVER_SILENT)],
)
def test_a_gpu_that_does_not_answer_is_gone_unless_it_hangs(fault: str, absence: Absence) -> None:
    assert facts_of({"faults": {"gpu": fault}}, frozenset()) is absence


@pytest.mark.parametrize(
    ("state", "status", "fabric"),
    [
        (0, 0, None),
        (1, 0, Fabric.STARTING),
        (2, 0, Fabric.STARTING),
        (3, 0, Fabric.READY),
        (3, 999, Fabric.FAILED),
    ],
)
def test_a_fabric_is_ready_once_it_is_complete_and_well(
    state: int, status: int, fabric: Fabric | None
) -> None:
    facts = facts_of(sheet(fabric={"state": state, "status": status, "health_mask": 0}), frozenset())
    assert isinstance(facts, Facts)
    assert facts.fabric is fabric


def test_each_fact_comes_by_its_name() -> None:
    facts = facts_of(
        sheet(
            ecc_uncorrected=4,
            is_remap_pending=True,
            has_remap_failed=False,
            is_retirement_pending=True,
            nvlinks=[True, False, False],
            recovery_action=2,
            slowdown_reasons=0x1 | 0x4 | 0x20 | 0x80,
        ),
        frozenset({0, 1}),
    )
    assert facts == Facts(
        ecc_uncorrected=4,
        remap_pending=True,
        remap_failed=False,
        retirement_pending=True,
        nvlink_down=frozenset({1}),
        recovery=Recovery.REBOOT,
        slowdowns=frozenset({Slowdown.SOFTWARE_THERMAL, Slowdown.POWER_BRAKE}),
    )


def test_an_advice_that_is_not_known_yet_is_taken_for_a_reset() -> None:
    facts = facts_of(sheet(recovery_action=9), frozenset())
    assert isinstance(facts, Facts)
    assert facts.recovery is Recovery.RESET


def test_links_that_cannot_be_read_are_not_down() -> None:
    facts = facts_of(sheet(nvlinks=None), frozenset({0}))
    assert isinstance(facts, Facts)
    assert facts.nvlink_down == frozenset()
    assert links_up(sheet(nvlinks=[False, True])) == frozenset({1})


def test_a_gate_says_who_is_there_what_is_left_and_what_can_not_be_told() -> None:
    clean = sheet(used_bytes=4 * MIB), sheet(processes=[], compute={}, graphics={})
    assert gate_of(*clean, 4 * MIB).verdict is GateVerdict.PASSED
    busy = sheet(processes=[{"pid": 4711, "used_bytes": 1}], compute={"4711": 1}, graphics={})
    foreign = gate_of(clean[0], busy, 4 * MIB)
    assert (foreign.verdict, "4711" in foreign.holders) == (GateVerdict.FOREIGN, True)
    full = gate_of(sheet(used_bytes=4096 * MIB), clean[1], 4 * MIB)
    assert (full.verdict, "4096 MiB" in full.holders) == (GateVerdict.LEFTOVER, True)
    assert gate_of({"faults": {"gpu": "gpu_lost"}}, clean[1], None).verdict is GateVerdict.NOT_LOOKED


def test_a_gpu_that_tells_its_name_and_nothing_else_is_gone() -> None:
    assert facts_of({"faults": {"ecc_uncorrected": "gpu_lost"}}, frozenset()) is Absence.GONE


def test_a_gpu_that_answers_that_it_wants_a_reset_is_advised_one() -> None:
    facts = facts_of({"faults": {"nvlinks": "reset_required"}}, frozenset())
    assert isinstance(facts, Facts)
    assert facts.recovery is Recovery.RESET
