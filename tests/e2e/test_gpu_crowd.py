"""I1 and I8 under a crowd of jobs, at every instant, and not by the daemon's own word."""

import random
from pathlib import Path

import pytest

from tests.e2e.conftest import Make
from tests.e2e.gpu_crowd import SETTINGS, GpuCrowd
from tests.e2e.gpu_host import gpu_host
from tests.e2e.gpu_stays import Spell, Stay, begun_on_used, shared
from tests.nvml_standin import profiles
from tests.private_engine import PrivateEngine

ONE, OTHER = frozenset({"GPU-1"}), frozenset({"GPU-1", "GPU-2"})


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_no_gpu_is_in_two_containers_nor_given_out_in_use(
    make_daemon: Make, engine: PrivateEngine, tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, host = random.SystemRandom().randrange(10**6), profiles.hgx_h100()
    with gpu_host(engine, tmp_path, host) as standin:
        daemon = make_daemon(SETTINGS)
        daemon.environment = standin.environ
        crowd = GpuCrowd(daemon, engine, random.Random(seed), standin=standin, host=host, count=count)
        violations = crowd.run_all()
    with capsys.disabled():
        print(f"\n{crowd.summary()}, seed {seed}")  # noqa: T201 - the summary is to be seen
    assert not violations, "\n".join(violations)
    # What was not seen proves nothing.
    seen = crowd.counts
    assert min(seen["kills"], seen["cancels"], seen["on the last GPU"]) > 0
    assert seen["started"] > count / 2
    assert seen["seen inside"] > seen["started"] / 2
    assert seen["certain spells"] > seen["started"]


@pytest.mark.parametrize(
    ("stays", "faults"),
    [
        ([Stay("a", ONE, 1, 5), Stay("b", OTHER, 5, 9)], 0),
        ([Stay("a", ONE, 1, 5), Stay("b", OTHER, 4, 9)], 1),
        ([Stay("b", OTHER, 4), Stay("a", ONE, 9)], 1),
        ([Stay("a", frozenset({"GPU-2"}), 1), Stay("b", ONE, 2)], 0),
    ],
)
def test_two_stays_on_one_gpu_are_a_fault(stays: list[Stay], faults: int) -> None:
    assert len(shared(stays)) == faults


@pytest.mark.parametrize(
    ("spell", "faults"),
    [
        (Spell("GPU-1", "a", 2, 6), 0),
        (Spell("GPU-1", "a", 2, 8), 1),
        (Spell("GPU-2", "a", 2, 8), 0),
        (Spell("GPU-1", "", 1, 4), 0),
        (Spell("GPU-1", "", 1, 8), 1),
        (Spell("GPU-1", "a", 5, 8), 0),  # told when the GPU was free again: a gate may have come before
        (Spell("GPU-1", "b", 8, 9), 0),
    ],
)
def test_a_start_on_a_gpu_in_use_is_a_fault_where_its_gate_must_have_seen_that(
    spell: Spell, faults: int
) -> None:
    stays = [Stay("a", ONE, 3, 5), Stay("b", ONE, 7, 9)]
    # What was in use before the first stay concerns that one too.
    assert len(begun_on_used(stays, [spell])) == faults + (spell.begin < 3 and spell.container == "")
