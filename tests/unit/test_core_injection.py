"""How leased GPUs reach a container: by which way, near which CPUs, and which of them are blamed where it fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.container import Cpuset, EngineFacts, Injection
from agent.core.injection import blamed_gpus, choose_injection, near_cpus
from agent.core.job import FailureKind, StartFailure
from agent.core.policy import InjectionWish
from agent.core.reasons import CATALOGUE
from tests.unit.core_values import engine_facts

AUTO, CDI, NVIDIA = InjectionWish.AUTO, InjectionWish.CDI, InjectionWish.NVIDIA
DIRS = ("/etc/cdi",)
NAMED = frozenset({"all", "GPU-1", "GPU-2"})
BY_INDEX = frozenset({"all", "0", "1"})
RUNC, BOTH = frozenset({"runc"}), frozenset({"runc", "nvidia"})


def facts_of(dirs: tuple[str, ...], names: frozenset[str], runtimes: frozenset[str]) -> EngineFacts:
    return engine_facts(cdi_dirs=dirs, cdi_gpus=names, runtimes=runtimes)


@pytest.mark.parametrize(
    ("wish", "dirs", "names", "runtimes", "expected"),
    [
        (AUTO, DIRS, NAMED, BOTH, Injection.CDI),
        (AUTO, DIRS, NAMED, RUNC, Injection.CDI),
        (AUTO, (), NAMED, BOTH, Injection.NVIDIA),  # CDI is off
        (AUTO, DIRS, BY_INDEX, BOTH, Injection.NVIDIA),
        (AUTO, DIRS, NAMED - {"GPU-2"}, BOTH, Injection.NVIDIA),
        (CDI, DIRS, NAMED, BOTH, Injection.CDI),
        (CDI, DIRS, frozenset(), BOTH, Injection.CDI),  # the engine says what it does not know
        (NVIDIA, DIRS, NAMED, BOTH, Injection.NVIDIA),
    ],
)
def test_cdi_goes_before_the_runtime_unless_the_operator_says_otherwise(
    wish: InjectionWish,
    dirs: tuple[str, ...],
    names: frozenset[str],
    runtimes: frozenset[str],
    expected: Injection,
) -> None:
    assert choose_injection(wish, facts_of(dirs, names, runtimes), None, ("GPU-1", "GPU-2")) is expected


@pytest.mark.parametrize(
    ("wish", "dirs", "names", "runtimes", "words"),
    [
        (AUTO, (), frozenset(), RUNC, "CDI is off in the engine, and the engine has no runtime nvidia"),
        (
            AUTO,
            DIRS,
            frozenset(),
            RUNC,
            "no CDI spec in /etc/cdi names a GPU by its UUID, and the engine has",
        ),
        (CDI, (), NAMED, BOTH, "CDI is off in the engine ([gpus] injection is cdi)"),
        (NVIDIA, DIRS, NAMED, RUNC, "the engine has no runtime nvidia ([gpus] injection is nvidia)"),
    ],
)
def test_a_host_without_any_way_is_to_blame_and_other_gpus_would_not_help(
    wish: InjectionWish, dirs: tuple[str, ...], names: frozenset[str], runtimes: frozenset[str], words: str
) -> None:
    failure = choose_injection(wish, facts_of(dirs, names, runtimes), None, ("GPU-1",))
    assert isinstance(failure, StartFailure)
    assert (failure.kind, failure.code) == (FailureKind.ENGINE, "gpu_injection_missing")
    assert words in failure.message
    assert CATALOGUE[failure.code].blame == "host"


def test_where_the_specs_name_only_other_gpus_the_job_goes_to_those() -> None:
    failure = choose_injection(AUTO, facts_of(DIRS, NAMED, RUNC), None, ("GPU-1", "GPU-3"))
    assert isinstance(failure, StartFailure)
    assert (failure.kind, failure.code) == (FailureKind.GPU, "gpu_start_failed")
    assert blamed_gpus(("GPU-1", "GPU-3"), failure.message) == ["GPU-3"]


@pytest.mark.parametrize("wish", [AUTO, NVIDIA])
def test_gpus_never_take_a_job_out_of_the_runtime_that_confines_it(wish: InjectionWish) -> None:
    failure = choose_injection(wish, facts_of((), frozenset(), BOTH), "runsc", ("GPU-1",))
    assert isinstance(failure, StartFailure)
    assert "all jobs run under the runtime runsc" in failure.message


def test_where_all_jobs_run_under_the_nvidia_runtime_gpus_may_come_by_it() -> None:
    assert choose_injection(AUTO, facts_of((), NAMED, BOTH), "nvidia", ("GPU-1",)) is Injection.NVIDIA


def test_the_gpus_that_the_engine_names_are_blamed_and_all_where_it_names_none() -> None:
    leased = ("GPU-1", "GPU-2")
    assert blamed_gpus(leased, "unresolvable CDI devices nvidia.com/gpu=GPU-2") == ["GPU-2"]
    assert blamed_gpus(leased, "nvml error: driver not loaded") == ["GPU-1", "GPU-2"]


NODES = {0: "0-3,8", 1: "4-7"}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([1], Cpuset("4-7", "1")),
        ([1, 1], Cpuset("4-7", "1")),
        ([1, 0], Cpuset("0-3,8,4-7", "0,1")),
        ([0, None], None),  # its nearest CPUs could be those that the others' nodes leave out
        ([0, 5], None),
        ([], None),
    ],
)
def test_a_job_is_pinned_to_the_nodes_of_all_its_gpus_or_not_at_all(
    nodes: list[int | None], expected: Cpuset | None
) -> None:
    assert near_cpus(nodes, NODES) == expected


@given(st.lists(st.none() | st.integers(0, 3)))
def test_without_nodes_of_the_host_no_job_is_ever_pinned(nodes: list[int | None]) -> None:
    assert near_cpus(nodes, {}) is None
