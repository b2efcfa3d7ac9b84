"""The state of a GPU: what each finding makes of it, what lifts that, and what becomes of the job on it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.gpu_findings import (
    Absence,
    Asked,
    Fabric,
    Fate,
    Gate,
    GateVerdict,
    GpuReason,
    GpuState,
    Need,
    Recovery,
    Request,
    ResetEnd,
    Sight,
    Slowdown,
)
from agent.core.gpu_health import (
    QUIET_SECONDS,
    HealthPolicy,
    is_leasable,
    is_used,
    judge,
    probation_left,
    unleasable,
)
from agent.core.gpu_record import MOST_HISTORY, MOST_TOLD, GpuHealth, dump_health, load_health
from agent.core.job import Now
from agent.core.xids import ROWS, XidAction, XidTable
from agent.errors import Blame
from tests.tries import tries
from tests.unit.gpu_sights import (
    CLEAN,
    LEASED,
    POLICY,
    PROBATION,
    SIGHTS,
    UUID,
    WALL,
    WELL,
    after,
    ask,
    at,
    facts,
    looks,
    xids,
)

OK, SUSPECT, QUARANTINED, MISSING, RESETTING = (
    GpuState.OK,
    GpuState.SUSPECT,
    GpuState.QUARANTINED,
    GpuState.MISSING,
    GpuState.RESETTING,
)

HELD_BY_OTHERS = replace(CLEAN, gate=Gate(GateVerdict.FOREIGN, "42 (python)"))
ANOTHER_AGENTS = replace(CLEAN, gate=Gate(GateVerdict.HELD, "another agent has it: agent-2"))
LEFT_OVER = replace(CLEAN, gate=Gate(GateVerdict.LEFTOVER, "43 (gpu-agent-x)"))
GONE = Sight(Absence.GONE)
RESET_DONE, RESET_FAILED = replace(CLEAN, reset=ResetEnd()), replace(CLEAN, reset=ResetEnd("busy"))


def of_class(action: XidAction) -> list[int]:
    return [xid for xid, row in ROWS.items() if row.action is action]


# XIDs


@pytest.mark.parametrize("xid", of_class(XidAction.APPLICATION))
def test_an_applications_own_xid_blames_the_job_and_leaves_the_gpu_well(xid: int) -> None:
    health, effects = judge(WELL, xids(xid), at(0), POLICY)
    assert health == WELL
    assert (effects.fate, effects.events) == (Fate.BLAME, ())
    assert effects.why is not None
    assert (effects.why.code, effects.why.blame, effects.why.retryable) == (
        "gpu_fault_application",
        Blame.USER,
        False,
    )


@pytest.mark.parametrize("xid", of_class(XidAction.RESET))
def test_an_xid_that_asks_for_a_reset_quarantines_and_ends_the_job_by_the_hosts_fault(xid: int) -> None:
    health, effects = judge(WELL, xids(xid), at(0), POLICY)
    assert (health.state, health.needs) == (QUARANTINED, {Need.RESET, Need.PROBATION})
    assert effects.fate is Fate.STOP
    assert effects.why is not None
    assert (effects.why.code, effects.why.blame, effects.why.retryable) == ("gpu_fault", Blame.HOST, True)
    assert f"XID {xid}" in effects.why.message


@pytest.mark.parametrize("xid", of_class(XidAction.LOST))
def test_a_gpu_off_the_bus_is_missing_and_its_job_lost(xid: int) -> None:
    health, effects = judge(WELL, xids(xid), at(0), POLICY)
    assert (health.state, health.needs) == (MISSING, {Need.REBOOT, Need.PROBATION})
    assert effects.fate is Fate.LOST
    assert effects.why is not None
    assert (effects.why.code, effects.why.blame, effects.why.retryable) == ("gpu_lost", Blame.HOST, True)


@pytest.mark.parametrize("xid", of_class(XidAction.FACTS))
def test_an_xid_that_the_facts_must_judge_quarantines_and_stops_nothing(xid: int) -> None:
    health, effects = judge(WELL, xids(xid), at(0), POLICY)
    assert (health.state, health.reason, health.needs) == (QUARANTINED, GpuReason.XID, {Need.PROBATION})
    assert effects.fate is Fate.BLAME
    assert effects.why is not None
    assert effects.why.code == "gpu_fault"
    assert after(health, (5, CLEAN), (4 + PROBATION, CLEAN)).state is QUARANTINED
    assert after(health, (5, CLEAN), (5 + PROBATION, CLEAN)).state is OK


def test_an_unknown_xid_is_suspect_warned_of_once_and_stops_nothing() -> None:
    health, effects = judge(WELL, xids(999, 999), at(0), POLICY)
    assert (health.state, effects.fate, len(effects.warnings)) == (SUSPECT, Fate.NOTHING, 1)
    well = after(health, (5, CLEAN), (5 + PROBATION, CLEAN))
    assert well.state is OK
    again, effects = judge(well, xids(999), at(2000), POLICY)
    assert (again.state, effects.warnings) == (SUSPECT, ())


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (XidAction.APPLICATION, OK),
        (XidAction.RESET, QUARANTINED),
        (XidAction.LOST, MISSING),
        (XidAction.FACTS, QUARANTINED),
        (XidAction.SUSPECT, SUSPECT),
        (XidAction.IGNORE, OK),
    ],
)
def test_an_operators_row_decides(action: XidAction, state: GpuState) -> None:
    policy = HealthPolicy(PROBATION, XidTable({79: action}))
    assert judge(WELL, xids(79), at(0), policy)[0].state is state


def test_of_several_xids_the_worst_gives_the_reason_and_the_fate() -> None:
    health, effects = judge(WELL, xids(45, 999, 48, 62, 79), at(0), POLICY)
    assert (health.state, health.words) == (MISSING, "XID 79: the GPU fell off the bus")
    assert health.needs == {Need.REBOOT, Need.RESET, Need.PROBATION}
    assert effects.fate is Fate.LOST


@pytest.mark.parametrize("numbers", [(48, 45), (45, 48)])
def test_a_program_that_fails_with_its_gpu_is_not_blamed(numbers: tuple[int, ...]) -> None:
    _, effects = judge(WELL, xids(*numbers), at(0), POLICY)
    assert effects.why is not None
    assert effects.why.code == "gpu_fault"


def test_a_program_that_fails_after_its_gpu_is_not_blamed() -> None:
    _, effects = judge(after(WELL, (0, xids(94))), xids(45), at(5), POLICY)
    assert effects.why is None


# Facts


@pytest.mark.parametrize(
    ("sight", "reason", "needs"),
    [
        (facts(remap_failed=True), GpuReason.REMAP_FAILED, {Need.PROBATION}),
        (facts(remap_pending=True), GpuReason.REMAP_PENDING, {Need.RESET, Need.PROBATION}),
        (facts(retirement_pending=True), GpuReason.RETIREMENT_PENDING, {Need.RESET, Need.PROBATION}),
        (facts(nvlink_down=frozenset({2})), GpuReason.NVLINK_DOWN, {Need.PROBATION}),
        (facts(fabric=Fabric.FAILED), GpuReason.FABRIC_NOT_READY, {Need.PROBATION}),
        (facts(recovery=Recovery.RESET), GpuReason.RECOVERY_ACTION, {Need.RESET, Need.PROBATION}),
        (facts(recovery=Recovery.DRAIN_P2P), GpuReason.RECOVERY_ACTION, {Need.RESET, Need.PROBATION}),
        (facts(recovery=Recovery.DRAIN_AND_RESET), GpuReason.RECOVERY_ACTION, {Need.RESET, Need.PROBATION}),
        (facts(recovery=Recovery.REBOOT), GpuReason.RECOVERY_ACTION, {Need.REBOOT, Need.PROBATION}),
    ],
)
def test_a_bad_fact_quarantines_and_stops_nothing(sight: Sight, reason: GpuReason, needs: set[Need]) -> None:
    health, effects = judge(WELL, sight, at(0), POLICY)
    assert (health.state, health.reason, health.needs) == (QUARANTINED, reason, needs)
    assert effects.fate is Fate.BLAME
    assert effects.why is not None
    assert effects.why.code == "gpu_fault"
    assert after(health, (1e6, sight), (2e6, sight)).state is QUARANTINED  # as long as the fact stands


@pytest.mark.parametrize(
    ("sight", "reason"),
    [
        (facts(slowdowns=frozenset(Slowdown)), GpuReason.SLOWDOWN),
        (facts(fabric=Fabric.STARTING), GpuReason.FABRIC_NOT_READY),
    ],
)
def test_what_passes_by_itself_is_suspect_until_a_quiet_minute(sight: Sight, reason: GpuReason) -> None:
    health, effects = judge(WELL, sight, at(0), POLICY)
    assert (health.state, health.reason, effects.fate) == (SUSPECT, reason, Fate.NOTHING)
    calm = after(health, (5, LEASED))  # no gate is needed
    assert after(calm, (4 + QUIET_SECONDS, LEASED)).state is SUSPECT
    assert after(calm, (5 + QUIET_SECONDS, LEASED)).state is OK
    assert after(calm, (30, sight), (5 + QUIET_SECONDS, LEASED)).state is SUSPECT


def test_more_uncorrected_errors_than_before_quarantine() -> None:
    known = after(WELL, (0, facts(ecc_uncorrected=7)))
    assert known.state is OK  # from before our time
    worse = after(known, (5, facts(ecc_uncorrected=8)))
    assert (worse.state, worse.reason) == (QUARANTINED, GpuReason.ECC_UNCORRECTED)
    assert (
        after(worse, (10, facts(ecc_uncorrected=8)), (10 + PROBATION, facts(ecc_uncorrected=8))).state is OK
    )


def test_a_counter_that_goes_back_is_no_fault_and_counts_from_there() -> None:
    reloaded = after(WELL, (0, facts(ecc_uncorrected=7)), (5, facts(ecc_uncorrected=0)))
    assert reloaded.state is OK
    assert after(reloaded, (10, facts(ecc_uncorrected=1))).state is QUARANTINED


def test_a_counter_that_can_not_be_read_for_a_while_is_remembered() -> None:
    blind = after(WELL, (0, facts(ecc_uncorrected=7)), (5, facts()), (6, GONE))
    assert after(blind, (10, facts(ecc_uncorrected=8))).reason is not None
    assert blind.ecc_uncorrected == 7


def test_facts_that_nobody_can_read_are_no_faults() -> None:
    assert after(WELL, (0, facts())) == WELL


# Gates


def test_a_gpu_used_by_a_foreign_process_is_not_leased_until_that_is_gone() -> None:
    health, effects = judge(WELL, HELD_BY_OTHERS, at(0), POLICY)
    assert (health.state, health.reason, effects.fate) == (SUSPECT, GpuReason.BUSY_FOREIGN, Fate.NOTHING)
    assert "42 (python)" in health.words
    assert after(health, (5, LEASED), (1e6, LEASED)).state is SUSPECT  # nobody looked
    assert after(health, (5, CLEAN)).state is OK


def test_a_gpu_of_another_agent_is_not_leased_until_that_is_gone_and_the_words_name_it() -> None:
    health, effects = judge(WELL, ANOTHER_AGENTS, at(0), POLICY)
    assert (health.state, health.reason, effects.fate) == (SUSPECT, GpuReason.HELD, Fate.NOTHING)
    assert "agent-2" in health.words
    assert after(health, (5, CLEAN)).state is OK


def test_what_a_job_left_behind_keeps_its_gpu_for_a_probation() -> None:
    health, effects = judge(WELL, LEFT_OVER, at(0), POLICY)
    assert (health.state, health.reason, effects.fate) == (SUSPECT, GpuReason.NOT_CLEAN, Fate.NOTHING)
    assert after(health, (5, CLEAN)).state is SUSPECT
    assert after(health, (5, CLEAN), (5 + PROBATION, CLEAN)).state is OK


# Probation


def test_a_probation_begins_again_with_each_new_finding() -> None:
    health = after(WELL, (0, xids(48)), (5, CLEAN), (500, xids(48)), (505, CLEAN))
    assert after(health, (5 + PROBATION, CLEAN)).state is QUARANTINED
    assert after(health, (505 + PROBATION, CLEAN)).state is OK


def test_no_probation_ends_without_a_passed_gate() -> None:
    health = after(WELL, (0, xids(48)), (5, CLEAN), (5 + PROBATION, LEASED))
    assert health.state is QUARANTINED
    assert after(health, (6 + PROBATION, CLEAN)).state is OK


def test_the_time_left_of_a_probation_is_told_where_nobody_else_is_waited_for() -> None:
    health = after(WELL, (0, xids(48)))
    assert probation_left(health, at(3), POLICY) == PROBATION
    assert probation_left(after(health, (5, CLEAN)), at(105), POLICY) == PROBATION - 100
    assert probation_left(after(health, (5, CLEAN)), at(9, "boot-2"), POLICY) == PROBATION
    for waiting in (WELL, *(after(WELL, (0, sight)) for sight in (xids(62), GONE, ask(Asked.QUARANTINE)))):
        assert probation_left(waiting, at(0), POLICY) is None


@pytest.mark.parametrize("xid", [62, 48])
def test_a_restart_lifts_nothing(xid: int) -> None:
    health = after(WELL, (0, xids(xid)))
    loaded = load_health(UUID, dump_health(health))
    assert (loaded.health, loaded.faults) == (health, ())
    assert after(loaded.health, (1, CLEAN)).state is QUARANTINED


# Reset and reboot


def test_a_quarantine_until_reset_waits_for_it_and_then_for_a_probation() -> None:
    health = after(WELL, (0, xids(62)), (5, CLEAN), (1e6, CLEAN))
    assert health.state is QUARANTINED
    asked = after(health, (1e6 + 1, ask(Asked.RESET)))
    assert (asked.state, asked.reason) == (RESETTING, GpuReason.OPERATOR)
    assert after(asked, (1e6 + 2, GONE), (1e6 + 3, CLEAN)).state is RESETTING  # a reset takes the GPU away
    done = after(asked, (1e6 + 4, RESET_DONE))
    assert (done.state, done.needs) == (QUARANTINED, {Need.PROBATION})
    assert after(done, (1e6 + 4 + PROBATION, CLEAN)).state is OK


def test_a_gpu_that_waits_for_its_reset_is_not_well_however_long_that_takes() -> None:
    asked = after(WELL, (0, ask(Asked.RESET)))
    assert after(asked, (5, CLEAN), (1e6, CLEAN)).state is RESETTING


@pytest.mark.parametrize(
    ("end", "boot"), [(ResetEnd(), "boot-1"), (ResetEnd("no"), "boot-1"), (None, "boot-2")]
)
def test_a_gpu_that_does_not_come_back_from_its_reset_is_missing(end: ResetEnd | None, boot: str) -> None:
    asked = after(WELL, (0, ask(Asked.RESET)))
    sight = replace(GONE, reset=end, request=Request(Asked.RESTORE))
    assert after(asked, (5, sight), boot=boot).state is MISSING


def test_a_reset_that_failed_leaves_the_gpu_waiting_for_one() -> None:
    failed = after(WELL, (0, ask(Asked.RESET)), (5, RESET_FAILED))
    assert (failed.state, failed.reason) == (QUARANTINED, GpuReason.RESET_FAILED)
    assert Need.RESET in failed.needs
    assert "busy" in failed.words


def test_a_reset_that_failed_is_told_also_of_a_gpu_that_waits_for_a_reboot() -> None:
    advised = facts(recovery=Recovery.REBOOT)
    asked = after(WELL, (0, advised), (1, ask(Asked.RESET, advised)))
    assert asked.state is RESETTING
    failed = after(asked, (5, replace(advised, reset=ResetEnd("busy"))))
    assert (failed.state, failed.reason) == (QUARANTINED, GpuReason.RESET_FAILED)
    assert "busy" in failed.words
    assert failed.needs >= {Need.RESET, Need.REBOOT}


def test_a_failed_reset_hides_nothing_worse_that_is_found_with_it() -> None:
    asked = after(WELL, (0, ask(Asked.RESET)))
    failed = after(asked, (5, replace(GONE, reset=ResetEnd("busy"))))
    assert (failed.state, failed.reason) == (MISSING, GpuReason.GONE)
    assert Need.RESET in failed.needs


def test_the_end_of_a_reset_that_nobody_asked_for_changes_nothing() -> None:
    health = after(WELL, (0, xids(62)))
    assert after(health, (5, RESET_DONE)).needs == health.needs


@pytest.mark.parametrize("sight", [xids(62), facts(recovery=Recovery.REBOOT), ask(Asked.RESET)])
def test_a_boot_resets_and_then_comes_the_probation(sight: Sight) -> None:
    health = after(WELL, (0, sight))
    booted = after(health, (5, CLEAN), boot="boot-2")
    assert (booted.state, booted.needs) == (QUARANTINED, {Need.PROBATION})
    assert after(booted, (5 + PROBATION, CLEAN), boot="boot-2").state is OK


def test_a_boot_that_mends_nothing_lifts_nothing() -> None:
    health = after(WELL, (0, facts(remap_pending=True)))
    assert Need.RESET in after(health, (5, facts(remap_pending=True)), boot="boot-2").needs


def test_a_boot_begins_the_probation_anew() -> None:
    """The boot clock does too, so that what it said before says nothing now."""
    health = after(WELL, (0, xids(48)), (5, CLEAN))
    assert after(health, (1e6, CLEAN), boot="boot-2").state is QUARANTINED


def test_a_lost_gpu_stays_missing_until_a_boot_even_if_it_is_seen() -> None:
    lost = after(WELL, (0, xids(79)), (5, GONE), (10, CLEAN), (1e6, CLEAN))
    assert (lost.state, lost.words) == (MISSING, "XID 79: the GPU fell off the bus")
    back = after(lost, (0, GONE), (5, CLEAN), boot="boot-2")
    assert (back.state, back.needs) == (QUARANTINED, {Need.PROBATION})
    assert after(back, (5 + PROBATION, CLEAN), boot="boot-2").state is OK


@pytest.mark.parametrize(
    ("absence", "fate"), [(Absence.GONE, Fate.BLAME), (Absence.DRIVER_SILENT, Fate.NOTHING)]
)
def test_a_gpu_that_was_away_is_on_probation_when_it_is_back(absence: Absence, fate: Fate) -> None:
    health, effects = judge(WELL, Sight(absence), at(0), POLICY)
    assert (health.state, effects.fate) == (MISSING, fate)
    back, effects = judge(health, CLEAN, at(5), POLICY)
    assert (back.state, len(effects.events)) == (QUARANTINED, 1)
    assert after(back, (5 + PROBATION, CLEAN)).state is OK


def test_a_gpu_that_needs_a_reset_still_does_after_it_was_away() -> None:
    back = after(WELL, (0, xids(62)), (5, GONE), (10, CLEAN))
    assert (back.state, back.needs) == (QUARANTINED, {Need.RESET, Need.PROBATION})


# The operator


def test_what_an_operator_quarantines_only_an_operator_restores() -> None:
    held = after(WELL, (0, ask(Asked.QUARANTINE)))
    assert (held.state, held.reason) == (QUARANTINED, GpuReason.OPERATOR)
    assert after(held, (5, CLEAN), (1e6, CLEAN)).state is QUARANTINED
    assert after(held, (0, CLEAN), boot="boot-2").state is QUARANTINED
    assert after(held, (5, ask(Asked.RESTORE))).state is OK


def test_an_operators_words_are_kept() -> None:
    sight = replace(CLEAN, request=Request(Asked.QUARANTINE, "fan is loud"))
    assert after(WELL, (0, sight)).words == "fan is loud"


def test_an_operators_hold_outlasts_what_came_with_it() -> None:
    held = after(WELL, (0, ask(Asked.QUARANTINE)), (5, xids(48)), (10, CLEAN), (10 + PROBATION, CLEAN))
    assert (held.state, held.needs) == (QUARANTINED, {Need.OPERATOR})


@pytest.mark.parametrize("sight", [xids(48), xids(999), LEFT_OVER])
def test_an_operator_may_cut_a_probation_short(sight: Sight) -> None:
    assert after(WELL, (0, sight), (5, ask(Asked.RESTORE))).state is OK


@pytest.mark.parametrize(
    ("before", "sight", "code"),
    [
        (xids(62), CLEAN, "gpu_needs_reset"),
        (xids(79), CLEAN, "gpu_needs_reboot"),
        (xids(48), facts(nvlink_down=frozenset({1})), "gpu_unwell"),
        (xids(48), xids(48), "gpu_unwell"),
        (xids(48), HELD_BY_OTHERS, "gpu_unwell"),
        (HELD_BY_OTHERS, LEASED, "gpu_busy_foreign"),
        (xids(48), GONE, "gpu_not_here"),
        (ask(Asked.RESET), CLEAN, "gpu_not_here"),
    ],
)
def test_a_restore_is_refused_while_something_is_wrong(before: Sight, sight: Sight, code: str) -> None:
    health = after(WELL, (0, before))
    restored, effects = judge(health, ask(Asked.RESTORE, sight), at(5), POLICY)
    assert effects.refusal is not None
    assert effects.refusal.code == code
    assert effects.refusal.words
    assert restored.needs >= health.needs - {Need.CLEAN}
    assert restored.state is not OK


@pytest.mark.parametrize(
    ("sight", "code"),
    [
        (LEASED, "gpu_leased"),
        (GONE, "gpu_not_here"),
        (HELD_BY_OTHERS, "gpu_busy_foreign"),
        (ANOTHER_AGENTS, "gpu_busy_foreign"),
    ],
)
def test_a_reset_is_refused_where_it_would_hurt_or_not_work(sight: Sight, code: str) -> None:
    health, effects = judge(WELL, ask(Asked.RESET, sight), at(0), POLICY)
    assert effects.refusal is not None
    assert effects.refusal.code == code
    assert health.state is not RESETTING


def test_the_config_says_which_gpus_are_used() -> None:
    assert is_used("GPU-1", ["*"])
    assert is_used("GPU-1", ["GPU-2", "GPU-1"])
    assert not is_used("GPU-1", ["GPU-2"])
    assert not is_used("GPU-1", [])
    healths = {"GPU-1": WELL, "GPU-2": after(WELL, (0, xids(48))), "GPU-3": WELL}
    assert unleasable(["GPU-1", "GPU-2", "GPU-3", "GPU-4"], healths, ["GPU-1", "GPU-2", "GPU-4"]) == {
        "GPU-2",
        "GPU-3",
        "GPU-4",  # nobody has judged it
    }


# What is told


def test_a_change_is_told_once_with_its_cause() -> None:
    health, effects = judge(WELL, xids(62), at(7), POLICY)
    (event,) = effects.events
    assert event.type == "gpu.state"
    assert event.data == {
        "gpu": UUID,
        "from": "ok",
        "to": "quarantined",
        "reason": "xid",
        "words": "XID 62: a microcontroller of the GPU halted",
        "needs": ["probation", "reset"],
    }
    assert health.since == WALL + 7
    assert [(change.came_from, change.to) for change in health.history] == [(OK, QUARANTINED)]


def test_what_is_no_worse_changes_no_reason_and_tells_nothing() -> None:
    first = after(WELL, (0, xids(62)))
    second, effects = judge(first, xids(119), at(5), POLICY)
    assert (second, effects.events) == (first, ())


def test_the_last_changes_are_kept() -> None:
    health = WELL
    for number in range(30):
        health = after(health, (number, ask(Asked.QUARANTINE)), (number + 0.5, ask(Asked.RESTORE)))
    assert len(health.history) == MOST_HISTORY
    assert health.history[-1].at == WALL + 29.5


@pytest.mark.parametrize("xid", [13, 48, 62, 79, 999])
def test_an_xid_from_before_the_jobs_time_is_the_gpus_alone(xid: int) -> None:
    fresh, _ = judge(WELL, xids(xid), at(0), POLICY)
    health, effects = judge(WELL, replace(CLEAN, old_xids=(xid,)), at(0), POLICY)
    assert health == fresh
    assert (effects.fate, effects.why) == (Fate.NOTHING, None)
    assert bool(effects.warnings) is (xid == 999)


def test_an_older_xid_hides_none_of_the_jobs_own() -> None:
    health, effects = judge(WELL, replace(xids(31), old_xids=(79,)), at(0), POLICY)
    assert health.state is GpuState.MISSING
    assert effects.fate is Fate.BLAME


def test_how_far_the_kernels_log_is_judged_goes_forward_only_and_ends_with_its_boot() -> None:
    health = after(WELL, (0, replace(CLEAN, log_record=7)), (5, CLEAN), (6, replace(CLEAN, log_record=3)))
    assert health.log_record == 7
    assert after(health, (10, CLEAN), boot="boot-2").log_record is None


def test_a_restore_and_a_reset_settle_what_the_log_tells_of_before_and_a_refused_one_does_not() -> None:
    ill = after(WELL, (0, xids(48)))
    assert after(ill, (10, ask(Asked.RESTORE))).cleared_at == at(10).boot.seconds
    assert after(WELL, (0, xids(62)), (10, ask(Asked.RESTORE))).cleared_at is None
    resetting = after(WELL, (0, xids(62)), (5, ask(Asked.RESET)))
    assert resetting.cleared_at is None
    assert after(resetting, (20, replace(CLEAN, reset=ResetEnd()))).cleared_at == at(20).boot.seconds
    assert after(resetting, (20, replace(CLEAN, reset=ResetEnd("no")))).cleared_at is None
    assert after(ill, (10, ask(Asked.RESTORE)), (20, CLEAN)).cleared_at == at(10).boot.seconds


@given(SIGHTS.filter(lambda sight: sight.xids), st.integers(1, 5))
def test_a_storm_of_xids_is_one_xid(sight: Sight, times: int) -> None:
    sight = replace(sight, request=None, reset=None)
    once, _ = judge(WELL, sight, at(0), POLICY)
    health = once
    for _ in range(times):
        health, effects = judge(health, sight, at(5), POLICY)
        assert (health, effects.events, effects.warnings) == (once, (), ())
    assert judge(WELL, replace(sight, xids=sight.xids * times), at(0), POLICY)[0] == once


# What always holds


@pytest.mark.slow
@settings(max_examples=tries(400))
@given(looks())
def test_a_gpu_gets_well_only_by_probation_clean_looks_or_an_operator(run: list[tuple[Sight, Now]]) -> None:
    health, clean_from = GpuHealth(UUID), None
    for sight, now in run:
        before = health
        health, effects = judge(before, sight, now, POLICY)
        assert is_leasable(health) is (health.state is OK) is (not health.needs) is (health.reason is None)
        assert health.words == "" or health.state is not OK
        clean_from = clean_since(before, sight, now, clean_from) if health.state is not RESETTING else None
        if health.state is not OK or before.state is OK:
            continue
        assert clean_from is not None
        if sight.request is not None and sight.request.asked is Asked.RESTORE:
            assert effects.refusal is None
            was_reset = before.boot_id != now.boot.boot_id or before.state is RESETTING
            assert was_reset or not before.needs & {Need.RESET, Need.REBOOT}
        else:
            assert lifting(sight, now.boot.seconds - clean_from) >= before.needs


def clean_since(before: GpuHealth, sight: Sight, now: Now, earlier: float | None) -> float | None:
    """Since when nothing was found, in one boot and since the last reset: a look is clean if it leaves a well GPU well."""
    well = replace(before, state=OK, needs=frozenset())
    is_clean = judge(well, replace(sight, request=None, reset=None), now, POLICY)[0].state is OK
    if not is_clean:
        return None
    begins = earlier is None or before.boot_id != now.boot.boot_id or before.state is RESETTING
    return now.boot.seconds if begins else earlier


def lifting(sight: Sight, clean_seconds: float) -> set[Need]:
    passed = sight.gate.verdict is GateVerdict.PASSED
    met = {
        Need.QUIET: clean_seconds >= QUIET_SECONDS,
        Need.CLEAN: passed,
        Need.PROBATION: passed and clean_seconds >= PROBATION,
    }
    return {need for need, is_met in met.items() if is_met}


@given(looks())
def test_a_restart_between_any_two_looks_changes_nothing(run: list[tuple[Sight, Now]]) -> None:
    health = restarted = GpuHealth(UUID)
    for sight, now in run:
        loaded = load_health(UUID, dump_health(restarted))
        assert (loaded.health, loaded.faults) == (restarted, ())
        health, effects = judge(health, sight, now, POLICY)
        restarted, effects_again = judge(loaded.health, sight, now, POLICY)
        assert (health, effects) == (restarted, effects_again)


@given(looks())
def test_the_record_is_bounded_and_its_history_is_a_path(run: list[tuple[Sight, Now]]) -> None:
    health = GpuHealth(UUID)
    for number, (sight, now) in enumerate(run * 3):
        health, effects = judge(health, replace(sight, xids=(*sight.xids, 1000 + number)), now, POLICY)
        assert len(effects.events) <= 1
        assert len(health.history) <= MOST_HISTORY
        assert len(health.told_xids) <= MOST_TOLD
    for one, next_one in zip(health.history, health.history[1:], strict=False):
        assert one.to is next_one.came_from
    assert not health.history or health.history[-1].to is health.state


@given(looks())
def test_a_stop_is_always_the_hosts_fault_and_blames_no_user(run: list[tuple[Sight, Now]]) -> None:
    health = GpuHealth(UUID)
    for sight, now in run:
        health, effects = judge(health, sight, now, POLICY)
        assert (effects.fate is Fate.NOTHING) is (effects.why is None)
        if effects.fate in (Fate.STOP, Fate.LOST):
            assert effects.why is not None
            assert effects.why.blame is Blame.HOST
            assert not is_leasable(health)


def test_the_operators_page_names_every_state_and_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    chapter = page.partition("## GPUs that are not well")[2].partition("\n## ")[0]
    for word in (*GpuState, *GpuReason):
        assert re.search(rf"^\| (\w+, )?{word}(, \w+)? \|", chapter, flags=re.MULTILINE), word
