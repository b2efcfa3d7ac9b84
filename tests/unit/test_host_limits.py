"""What no host could give is refused before it is accepted, as the host's own bounds are."""

import pytest

from agent.core.container import LogBounds
from agent.core.policy import ImageRules, Limits, Policy
from agent.jobs.host_limits import find_host_faults
from agent.spec import parse_spec

GIB = 1 << 30


def faults_of(spec: dict[str, object], limits: Limits) -> list[tuple[str, str, str]]:
    policy = Policy(
        "agent-1", "gpuagent0", ("192.0.2.53",), ("127.0.0.1",), LogBounds(10**8, 10), limits, ImageRules(),
        host_cpus=2, host_memory_bytes=24 * GIB,
    )  # fmt: skip
    faults = find_host_faults(parse_spec({"image": "busybox", **spec}), policy)
    return [(fault.field, fault.code, fault.message) for fault in faults]


@pytest.mark.parametrize("limits", [Limits(), Limits(cpus=8, memory_bytes=64 * GIB)])
def test_more_than_the_host_has_is_refused_where_no_limit_says_so(limits: Limits) -> None:
    assert faults_of({"cpus": 3, "memory": "25GiB"}, limits) == [
        ("cpus", "over_host_limit", "3 CPUs asked for, this host has 2"),
        ("memory", "over_host_limit", f"{25 * GIB} bytes asked for, this host has {24 * GIB}"),
    ]


def test_all_that_the_host_has_may_be_asked_for() -> None:
    assert faults_of({"cpus": 2, "memory": 24 * GIB}, Limits()) == []


def test_a_limit_below_what_the_host_has_goes_before_it() -> None:
    assert faults_of({"cpus": 3}, Limits(cpus=1.5)) == [
        ("cpus", "over_host_limit", "3 CPUs asked for, this host gives a job at most 1.5")
    ]
