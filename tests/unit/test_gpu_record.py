"""What is on disk of a GPU's health: read back as it was, and never a way out of quarantine where it is damaged."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.gpu_findings import Asked, GpuReason, GpuState, Need, Sight
from agent.core.gpu_health import is_leasable, judge
from agent.core.gpu_record import MOST_HISTORY, GpuHealth, dump_health, load_health
from agent.core.job import Now
from tests.unit.gpu_sights import CLEAN, POLICY, UUID, WALL, WELL, after, ask, at, facts, looks, xids

ILL = after(WELL, (0, facts(ecc_uncorrected=7)), (1, xids(999, 62)), (2, CLEAN))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(looks())
def test_what_is_dumped_is_read_back(run: list[tuple[Sight, Now]]) -> None:
    health = GpuHealth(UUID)
    for sight, now in run:
        health, _ = judge(health, sight, now, POLICY)
    loaded = load_health(UUID, dump_health(health))
    assert (loaded.health, loaded.faults) == (health, ())


@pytest.mark.parametrize("text", ["", "nope", "[]", "null", '"ok"', "[" * 100_000, '{"state"'])
def test_what_is_no_record_holds_the_gpu_for_an_operator(text: str) -> None:
    loaded = load_health(UUID, text)
    assert loaded.faults == ("the record is no JSON object",)
    assert (loaded.health.state, loaded.health.reason) == (GpuState.QUARANTINED, GpuReason.RECORD_UNREADABLE)
    assert Need.OPERATOR in loaded.health.needs
    assert after(loaded.health, (5, CLEAN), (1e6, CLEAN)).state is GpuState.QUARANTINED
    assert after(loaded.health, (5, ask(Asked.RESTORE))).state is GpuState.OK


@pytest.mark.slow
@pytest.mark.parametrize("name", json.loads(dump_health(ILL)))
@given(value=JSON)
def test_one_damaged_field_loses_no_other_and_lifts_nothing(name: str, value: object) -> None:
    fields = {**json.loads(dump_health(ILL)), name: value}
    loaded = load_health(UUID, json.dumps(fields))
    assert not is_leasable(loaded.health) or name == "state"
    for other in ("state", "reason", "words", "since", "ecc_uncorrected", "told_xids", "history"):
        # A state of `ok` beside needs is a contradiction, and no state at all leaves no reason to trust.
        if other != name and name not in ("state", "needs", "boot_id"):
            assert getattr(loaded.health, other) == getattr(ILL, other)


LATER = ("log_record", "cleared_at")


@pytest.mark.parametrize("name", LATER)
def test_a_record_from_before_the_kernels_log_was_read_is_no_worse(name: str) -> None:
    fields = json.loads(dump_health(replace(ILL, log_record=7, cleared_at=8.5)))
    assert load_health(UUID, json.dumps(fields)).health == replace(ILL, log_record=7, cleared_at=8.5)
    del fields[name]
    loaded = load_health(UUID, json.dumps(fields))
    assert (getattr(loaded.health, name), loaded.faults) == (None, ())


@pytest.mark.parametrize("name", sorted(json.loads(dump_health(WELL)).keys() - {*LATER}))
def test_a_field_that_is_missing_is_told(name: str) -> None:
    fields = json.loads(dump_health(WELL))
    del fields[name]
    loaded = load_health(UUID, json.dumps(fields))
    assert loaded.faults == (f"{name}: missing",)
    assert is_leasable(loaded.health) is (name not in ("state", "needs", "boot_id"))


def test_what_a_later_version_wrote_is_kept_as_far_as_it_is_known_and_the_rest_is_told() -> None:
    fields = json.loads(dump_health(ILL))
    fields["needs"].append("blessing")
    fields["history"].append([WALL, "ok", "melted", None, ""])
    fields["colour"] = "red"
    loaded = load_health(UUID, json.dumps(fields))
    assert loaded.health.needs == ILL.needs | {Need.OPERATOR}
    assert loaded.health.history == ILL.history
    assert [fault.split(":")[0] for fault in loaded.faults] == ["needs", "history", "colour"]


def test_an_unknown_state_is_quarantined_for_an_operator() -> None:
    fields = {**json.loads(dump_health(WELL)), "state": "melted"}
    health = load_health(UUID, json.dumps(fields)).health
    assert health.state is GpuState.QUARANTINED
    assert Need.OPERATOR in health.needs


@pytest.mark.parametrize("since", [10**400, float("inf"), float("nan"), True])
def test_a_number_that_is_no_time_is_told(since: float) -> None:
    loaded = load_health(UUID, json.dumps({**json.loads(dump_health(ILL)), "since": since}))
    assert (loaded.health.since, len(loaded.faults)) == (0.0, 1)


def test_well_beside_needs_is_not_believed() -> None:
    fields = {**json.loads(dump_health(ILL)), "state": "ok"}
    assert not is_leasable(load_health(UUID, json.dumps(fields)).health)


@pytest.mark.parametrize("state", ["suspect", "quarantined", "missing", "resetting"])
def test_a_state_without_needs_is_put_on_probation(state: str) -> None:
    fields = {**json.loads(dump_health(WELL)), "state": state}
    assert load_health(UUID, json.dumps(fields)).health.needs == {Need.PROBATION}


def test_a_history_longer_than_ours_is_cut() -> None:
    fields = json.loads(dump_health(WELL))
    fields["history"] = [[WALL + number, "ok", "missing", "gone", ""] for number in range(100)]
    history = load_health(UUID, json.dumps(fields)).health.history
    assert len(history) == MOST_HISTORY
    assert history[-1].at == WALL + 99


def test_a_reset_that_was_under_way_is_still_asked_for_after_a_restart() -> None:
    asked, _ = judge(WELL, ask(Asked.RESET), at(0), POLICY)
    assert load_health(UUID, dump_health(asked)).health.state is GpuState.RESETTING
