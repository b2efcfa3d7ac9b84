"""Whose death it was: a table of raw cases, each with the rule of the design that decides it."""

import pytest

from agent.core.container import ContainerState
from agent.core.exits import Circumstances, Sight, judge
from agent.core.job import Run, StartIntent, Verdict
from tests.unit.core_values import WALL, make_container

SEEN = Sight(kills=(), whole=True, engine_broke=False)
GAP = Sight(kills=(), whole=False, engine_broke=False)
HERE = Circumstances("boot-1", live_restore=True)
NO_RESTORE = Circumstances("boot-1", live_restore=False)
REBOOTED = Circumstances("boot-2", live_restore=True)
BEFORE, AFTER = WALL - 1, WALL + 1


def kills(*at: float, broke: bool = False) -> Sight:
    return Sight(kills=at, whole=True, engine_broke=broke)


# what is seen, where, exit code, signalled_at (None: we did not), finished_at = WALL → lost code (None: its own)
CASES = [
    (SEEN, HERE, 0, None, None),
    (SEEN, HERE, 1, None, None),
    (SEEN, HERE, 137, None, None),  # it killed itself: no event
    (SEEN, NO_RESTORE, 0, None, None),
    (SEEN, NO_RESTORE, 143, None, None),
    # kill events
    (kills(WALL), HERE, 137, None, "killed_outside"),
    (kills(WALL), HERE, 0, None, "killed_outside"),  # a program that traps TERM
    (kills(WALL), HERE, 0, AFTER, "killed_outside"),  # trace 8: we signalled later
    (kills(WALL), HERE, 137, BEFORE, None),  # ours
    (kills(WALL), HERE, 137, WALL, None),  # at the same instant: ours
    (kills(BEFORE, WALL), HERE, 137, WALL, "killed_outside"),  # one of the two was not
    (kills(WALL, broke=True), HERE, 137, None, "engine_stopped"),
    (kills(WALL, broke=True), HERE, 143, AFTER, "engine_stopped"),
    (kills(WALL, broke=True), HERE, 143, BEFORE, None),
    # gaps
    (GAP, NO_RESTORE, 0, None, "engine_stopped"),
    (GAP, NO_RESTORE, 137, None, "engine_stopped"),
    (GAP, NO_RESTORE, 143, None, "engine_stopped"),
    (GAP, NO_RESTORE, 1, None, None),  # no engine ends a program like that
    (GAP, HERE, 0, None, None),  # live-restore: the engine leaves them alone
    (GAP, HERE, 137, None, None),
    (SEEN, HERE, 255, None, None),
    (GAP, HERE, 255, None, "engine_stopped"),  # the engine's word for "I was away, and nobody can tell"
    (GAP, NO_RESTORE, 255, None, "engine_stopped"),
    (GAP, HERE, 255, BEFORE, None),
    (GAP, NO_RESTORE, 143, BEFORE, None),  # trace 9: ours, through the gap
    (GAP, NO_RESTORE, 143, WALL, None),
    (GAP, NO_RESTORE, 143, AFTER, "engine_stopped"),  # by the stamps, not by the signal's presence
    # another boot (trace 10)
    (SEEN, REBOOTED, 0, None, "host_rebooted"),
    (SEEN, REBOOTED, 255, None, "host_rebooted"),
    (SEEN, REBOOTED, 143, BEFORE, "host_rebooted"),
]


@pytest.mark.parametrize(("sight", "where", "code", "signalled_at", "lost_code"), CASES)
def test_whose_death(
    sight: Sight, where: Circumstances, code: int, signalled_at: float | None, lost_code: str | None
) -> None:
    container = make_container(
        state=ContainerState.EXITED, exit_code=code, started_at=WALL - 50, finished_at=WALL
    )
    run = Run(intent=StartIntent("c1", "boot-1"), signalled_at=signalled_at)
    facts = judge(container, run, sight, where)
    assert facts.lost_code == lost_code
    assert facts.verdict is (Verdict.OWN if lost_code is None else Verdict.LOST)
    assert (facts.code, facts.started_at, facts.finished_at) == (code, WALL - 50, WALL)


@pytest.mark.parametrize(
    ("flag", "code", "is_oom"), [(True, 137, True), (True, 0, False), (True, 1, False), (False, 137, False)]
)
def test_memory_ran_out_only_where_the_job_itself_was_killed_for_it(
    *, flag: bool, code: int, is_oom: bool
) -> None:
    container = make_container(state=ContainerState.EXITED, exit_code=code, oom=flag)
    assert judge(container, Run(), SEEN, HERE).oom is is_oom


@pytest.mark.parametrize(
    ("code", "signal"), [(0, None), (1, None), (128, None), (129, 1), (137, 9), (143, 15), (255, None)]
)
def test_a_signal_is_read_from_the_code(code: int, signal: int | None) -> None:
    container = make_container(state=ContainerState.EXITED, exit_code=code)
    assert judge(container, Run(), SEEN, HERE).signal == signal
