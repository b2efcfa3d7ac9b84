"""What no host could give is refused before it is accepted, as the host's own bounds are."""

import pytest

from agent.core.container import LogBounds
from agent.core.injection import NOTHING_TO_HAND_OVER
from agent.core.plan import Mounted, plan
from agent.core.policy import ImageRules, Limits, Policy
from agent.jobs.host_limits import find_host_faults
from agent.spec import parse_spec
from tests.unit.core_values import make_job

GIB = 1 << 30


def policy_of(limits: Limits) -> Policy:
    return Policy(
        "agent-1", "gpuagent0", ("192.0.2.53",), ("127.0.0.1",), LogBounds(10**8, 10), limits, ImageRules(),
        host_cpus=2, host_memory_bytes=24 * GIB,
    )  # fmt: skip


def faults_of(spec: dict[str, object], limits: Limits) -> list[tuple[str, str, str]]:
    faults = find_host_faults(parse_spec({"image": "busybox", **spec}), policy_of(limits))
    return [(fault.field, fault.code, fault.message) for fault in faults]


@pytest.mark.parametrize("limits", [Limits(), Limits(cpus=8, memory_bytes=64 * GIB)])
def test_more_than_the_host_has_is_refused_where_no_limit_says_so(limits: Limits) -> None:
    assert faults_of({"cpus": 3, "memory": "25GiB"}, limits) == [
        ("cpus", "over_host_limit", "3 CPUs asked for, this host has 2"),
        ("memory", "over_host_limit", f"{25 * GIB} bytes asked for, this host has {24 * GIB}"),
    ]


def test_all_that_the_host_has_may_be_asked_for() -> None:
    assert faults_of({"cpus": 2, "memory": 24 * GIB}, Limits()) == []


@pytest.mark.parametrize(("most", "given"), [(8, 2), (1.5, 1.5), (None, 2)])
def test_who_asks_for_nothing_gets_no_more_than_there_is(most: float | None, given: float) -> None:
    policy = policy_of(Limits(cpus=most, memory_bytes=64 * GIB))
    made = plan(make_job({}), policy, Mounted("/o", None, None, None), NOTHING_TO_HAND_OVER)
    assert (made.cpus, made.memory_bytes) == (given, 24 * GIB)


def test_a_limit_below_what_the_host_has_goes_before_it() -> None:
    assert faults_of({"cpus": 3}, Limits(cpus=1.5)) == [
        ("cpus", "over_host_limit", "3 CPUs asked for, this host gives a job at most 1.5")
    ]
