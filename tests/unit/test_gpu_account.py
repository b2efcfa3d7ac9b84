"""The account of an attempt's GPUs: sums of what samples tell, and nothing of what they do not."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.gpu_account import (
    MOST_GAP_SECONDS,
    MOST_LATE_SECONDS,
    GpuAccount,
    dump_accounts,
    fold,
    is_late,
    load_accounts,
    opened,
)
from agent.core.gpu_findings import Slowdown
from agent.core.gpu_usage import GpuSample, GpuUsage, GpuUse, Sum, total

ONE, TWO = "GPU-1", "GPU-2"
GIB = 2**30
Reading = tuple[float, dict[str, GpuSample | None]]

PERCENTS = st.none() | st.floats(0, 100)
SAMPLES = st.none() | st.builds(
    GpuSample,
    utilisation_percent=PERCENTS,
    used_bytes=st.none() | st.integers(0, 80 * GIB),
    power_watts=st.none() | st.floats(0, 1000),
    slowdowns=st.none() | st.sampled_from([frozenset(), frozenset({Slowdown.POWER_BRAKE})]),
    energy_joules=st.none() | st.floats(0, 1e6),
)
PAUSES = st.sampled_from([0.5, 1.0, 5.0, 5.0, 5.0, 14.0, 40.0, 3600.0])


@st.composite
def histories(draw: st.DrawFn, samples: st.SearchStrategy[GpuSample | None] = SAMPLES) -> list[Reading]:
    at, readings = 100.0, []
    for pause in draw(st.lists(PAUSES, max_size=12)):
        at += pause
        readings.append((at, {ONE: draw(samples), TWO: draw(samples)}))
    return readings


def account_of(readings: Sequence[Reading], uuids: Sequence[str] = (ONE, TWO)) -> GpuAccount:
    account = opened("c1", "boot-1", uuids)
    for at, samples in readings:
        account = fold(account, at, samples)
    return account


def use_of(*samples: tuple[float, GpuSample | None]) -> GpuUse:
    return account_of([(at, {ONE: sample}) for at, sample in samples], [ONE]).usage.gpus[0]


def test_the_mean_utilisation_is_weighted_by_time() -> None:
    busy = use_of(
        (0, GpuSample(utilisation_percent=100)),
        (10, GpuSample(utilisation_percent=100)),
        (15, GpuSample(utilisation_percent=0)),
        (20, GpuSample(utilisation_percent=0)),
    ).busy
    assert busy == Sum(12.5, 20)
    assert busy.mean == 0.625


def test_energy_is_the_difference_of_the_counter_also_over_an_absence() -> None:
    energy = use_of(
        (0, GpuSample(energy_joules=1000, power_watts=900)),
        (5, GpuSample(energy_joules=1500, power_watts=900)),
        (3605, GpuSample(energy_joules=101_500, power_watts=900)),
    ).energy
    assert energy == Sum(100_500, 3605)


def test_a_look_that_failed_leaves_no_hole_in_the_energy() -> None:
    for missed in (None, GpuSample(), GpuSample(utilisation_percent=5, power_watts=100)):
        energy = use_of(
            (0, GpuSample(energy_joules=10, power_watts=100)),
            (5, missed),
            (10, GpuSample(energy_joules=60, power_watts=100)),
        ).energy
        assert energy == Sum(50, 10), missed


def test_power_is_integrated_where_there_is_no_counter_and_only_between_samples_that_are_near() -> None:
    energy = use_of(
        (0, GpuSample(power_watts=100)),
        (5, GpuSample(power_watts=300)),
        (5 + MOST_GAP_SECONDS + 1, GpuSample(power_watts=300)),
    ).energy
    assert energy == Sum(1000, 5)


def test_a_counter_that_goes_backwards_is_no_energy_and_the_power_of_that_time_stands_for_it() -> None:
    before, after = (
        GpuSample(energy_joules=9000, power_watts=200),
        GpuSample(energy_joules=3, power_watts=200),
    )
    assert use_of((0, before), (5, after)).energy == Sum(1000, 5)
    assert use_of((0, before), (600, after), (605, replace(after, energy_joules=503))).energy == Sum(500, 5)
    assert use_of((0, replace(before, power_watts=None)), (5, after)).energy.known is None


def test_a_gpu_that_tells_of_no_energy_has_none_rather_than_zero() -> None:
    use = use_of((0, GpuSample(used_bytes=1)), (5, GpuSample(used_bytes=1)))
    assert (use.energy.known, use.busy.mean, use.slowed.known) == (None, None, None)


def test_the_peak_of_all_is_of_one_moment_and_not_the_sum_of_peaks() -> None:
    readings: list[Reading] = [
        (0, {ONE: GpuSample(used_bytes=10), TWO: GpuSample(used_bytes=1)}),
        (5, {ONE: GpuSample(used_bytes=2), TWO: GpuSample(used_bytes=10)}),
        (10, {ONE: GpuSample(used_bytes=50), TWO: None}),
    ]
    usage = account_of(readings).usage
    assert [use.peak_bytes for use in usage.gpus] == [50, 10]
    assert usage.peak_bytes == 12


def test_seconds_slowed_down_are_counted() -> None:
    hot = GpuSample(slowdowns=frozenset({Slowdown.HARDWARE_THERMAL}))
    assert use_of((0, hot), (5, hot), (10, GpuSample(slowdowns=frozenset()))).slowed == Sum(7.5, 10)


def test_a_reading_long_after_the_end_does_not_belong_to_the_job() -> None:
    assert not is_late(1000 + MOST_LATE_SECONDS, 1000)
    assert is_late(1001 + MOST_LATE_SECONDS, 1000)
    assert is_late(5000, None)


def test_attempts_add_up_gpu_by_gpu_and_peaks_do_not() -> None:
    first = GpuUsage((GpuUse(ONE, 10, Sum(1, 2), Sum(3, 4), Sum(5, 6)),), 10)
    second = GpuUsage((GpuUse(ONE, 20, Sum(1, 2), Sum(3, 4), Sum(5, 6)), GpuUse(TWO, 5)), 22)
    assert total([first, second]) == GpuUsage(
        (GpuUse(ONE, 20, Sum(2, 4), Sum(6, 8), Sum(10, 12)), GpuUse(TWO, 5)), 22
    )
    assert total([]) == GpuUsage()


@given(histories())
def test_no_sum_goes_down_and_none_covers_more_time_than_there_was(readings: list[Reading]) -> None:
    account = account_of([])
    for at, samples in readings:
        before, account = account, fold(account, at, samples)
        for was, now in zip(before.usage.gpus, account.usage.gpus, strict=True):
            for old, new in ((was.busy, now.busy), (was.energy, now.energy), (was.slowed, now.slowed)):
                assert new.amount >= old.amount >= 0
                assert old.seconds <= new.seconds <= at - readings[0][0]
            assert (now.peak_bytes or 0) >= (was.peak_bytes or 0)
            for share in (now.busy, now.slowed):
                assert share.amount <= share.seconds + 1e-6


@given(histories(), st.integers(0, 12))
def test_a_restart_anywhere_changes_no_account(readings: list[Reading], cut: int) -> None:
    kept = load_accounts(dump_accounts({"c1": account_of(readings[:cut])}))
    account = kept["c1"]
    for at, samples in readings[cut:]:
        account = fold(account, at, samples)
    assert account == account_of(readings)


@given(histories())
def test_a_reading_that_was_counted_is_not_counted_again(readings: list[Reading]) -> None:
    twice = [reading for reading in readings for _ in range(2)]
    assert account_of(twice) == account_of(readings)
    if readings:
        assert fold(account_of(readings), *readings[0]) == account_of(readings)


@given(
    st.lists(st.floats(0, 1e5), min_size=2, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.lists(PAUSES, min_size=12, max_size=12),
)
def test_energy_by_the_counter_does_not_depend_on_which_looks_failed(
    steps: list[float], missed: list[bool], pauses: list[float]
) -> None:
    counter, at, readings = 0.0, 0.0, []
    for number, (step, pause) in enumerate(zip(steps, pauses, strict=False)):
        counter, at = counter + step, at + pause
        is_missed = missed[number] and 0 < number < len(steps) - 1
        readings.append((at, None if is_missed else GpuSample(energy_joules=counter, power_watts=50)))
    energy = use_of(*readings).energy
    assert energy.amount == pytest.approx(sum(steps[1:]), abs=1e-3)
    assert energy.seconds == pytest.approx(readings[-1][0] - readings[0][0])


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "nothing",
        "null",
        '[["c","b",null,[["GPU-1",1,2]]]]',
        '[["c","b","x",[]]]',
        '[["c","b",null,[["G",1,"2",3,4,5,6,7,null]]]]',
    ],
)
def test_accounts_that_were_damaged_are_told_from_good_ones(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        load_accounts(text)


def test_an_account_on_disk_is_small() -> None:
    readings: list[Reading] = [
        (at * 5.0, {f"GPU-{n:032}": GpuSample(50, 2**36, 700.0, 60, frozenset(), 1e9 + at) for n in range(8)})
        for at in range(100)
    ]
    account = account_of(readings, [f"GPU-{n:032}" for n in range(8)])
    assert len(dump_accounts({"c1": account})) < 2000
    assert json.loads(dump_accounts({})) == []
