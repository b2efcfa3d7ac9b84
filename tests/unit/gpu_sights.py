"""Looks at a GPU for the tests of its health: one builder, and strategies that reach every finding."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from agent.core.gpu_findings import (
    Absence,
    Asked,
    Fabric,
    Facts,
    Gate,
    GateVerdict,
    Recovery,
    Request,
    ResetEnd,
    Sight,
    Slowdown,
)
from agent.core.gpu_health import HealthPolicy, judge
from agent.core.gpu_record import GpuHealth
from agent.core.job import BootTime, Now
from agent.core.xids import XidTable

UUID = "GPU-1"
WALL = 1_800_000_000.0
PROBATION = 600.0
POLICY = HealthPolicy(PROBATION, XidTable())
WELL = GpuHealth(UUID, boot_id="boot-1")
PASSED = Gate(GateVerdict.PASSED)
CLEAN = Sight(Facts(), gate=PASSED)
LEASED = Sight(Facts(), is_leased=True)


def at(seconds: float, boot: str = "boot-1") -> Now:
    return Now(WALL + seconds, BootTime(boot, 1000.0 + seconds))


def facts(**fields: Any) -> Sight:  # noqa: ANN401 - fields of Facts, checked by its constructor
    return replace(CLEAN, facts=Facts(**fields))


def xids(*numbers: int) -> Sight:
    return replace(CLEAN, xids=numbers)


def ask(asked: Asked, sight: Sight = CLEAN) -> Sight:
    return replace(sight, request=Request(asked))


def after(health: GpuHealth, *looks: tuple[float, Sight], boot: str = "boot-1") -> GpuHealth:
    """The GPU after looks at so many seconds."""
    for seconds, sight in looks:
        health, _ = judge(health, sight, at(seconds, boot), POLICY)
    return health


FACTS = st.builds(
    Facts,
    ecc_uncorrected=st.none() | st.integers(0, 3),
    remap_pending=st.sampled_from([None, False, False, True]),
    remap_failed=st.sampled_from([None, False, False, True]),
    retirement_pending=st.sampled_from([None, False, False, True]),
    nvlink_down=st.sampled_from([frozenset(), frozenset(), frozenset({3, 11})]),
    fabric=st.sampled_from([None, Fabric.READY, Fabric.READY, Fabric.STARTING, Fabric.FAILED]),
    recovery=st.sampled_from([None, Recovery.NONE, Recovery.NONE, *Recovery]),
    slowdowns=st.sampled_from([frozenset(), frozenset(), frozenset({Slowdown.POWER_BRAKE})]),
)
NUMBERS = st.sampled_from([13, 31, 45, 48, 62, 63, 79, 94, 119, 151, 200, 201, 9999])
GATES = st.sampled_from(
    [Gate(), PASSED, PASSED, Gate(GateVerdict.LEFTOVER), Gate(GateVerdict.FOREIGN, "42 (x)")]
)
SIGHTS = (
    st.just(CLEAN)
    | st.just(LEASED)
    | st.builds(
        Sight,
        st.just(Facts()) | FACTS | st.sampled_from(Absence),
        xids=st.just(()) | st.lists(NUMBERS, max_size=3).map(tuple),
        old_xids=st.just(()) | st.lists(NUMBERS, max_size=2).map(tuple),
        log_record=st.none() | st.integers(0, 100),
        gate=GATES,
        request=st.none() | st.builds(Request, st.sampled_from(Asked)),
        reset=st.sampled_from([None, ResetEnd(), ResetEnd("no")]),
        is_leased=st.booleans(),
    )
)
STEPS = st.sampled_from([0.0, 5.0, 59.0, 61.0, 300.0, 600.0, 1e6])


@st.composite
def looks(draw: st.DrawFn) -> list[tuple[Sight, Now]]:
    """A run of looks with the time going on, and now and then another boot."""
    seconds, boot, run = 0.0, 1, []
    for sight, step, boots in draw(st.lists(st.tuples(SIGHTS, STEPS, st.integers(0, 5)), max_size=25)):
        seconds, boot = seconds + step, boot + (boots == 0)
        run.append((sight, at(seconds, f"boot-{boot}")))
    return run
