"""Rows, containers and sights for the tests of core: one builder each, and strategies that reach every corner of them."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from agent.core.container import Container, ContainerState, EngineFacts
from agent.core.job import (
    BootTime,
    ExitFacts,
    FailureKind,
    Job,
    Kind,
    Now,
    Run,
    StartFailure,
    StartIntent,
    Stop,
    StopCause,
    Verdict,
)
from agent.core.lease import Lease, PortLease
from agent.core.next_step import Seen
from agent.errors import Phase
from agent.spec import JobSpec, Proto, parse_spec

AGENT = "agent-1"
WALL = 1_800_000_000.0
NOW = Now(WALL, BootTime("boot-1", 1000.0))
JOB_CAUSES = (StopCause.CANCEL, StopCause.DRAIN, StopCause.PARENT_CANCELLED)
ATTEMPT_CAUSES = (StopCause.TIMEOUT, StopCause.INTERNAL_ERROR)


def make_job(fields: dict[str, Any] | None = None, **columns: Any) -> Job:  # noqa: ANN401 - fields of Job, checked by replace
    """`fields` are of the spec, `columns` of the row."""
    spec = _spec(json.dumps(fields or {}))
    job = Job(
        "11111111-0000-7000-8000-000000000001",
        "alice",
        Kind.CONTAINER,
        spec,
        WALL - 100,
        queued_at=WALL - 100,
    )
    return replace(job, **columns)


@cache
def _spec(fields: str) -> JobSpec:
    """Each is parsed once: thousands of rows are made of few specs."""
    return parse_spec({"image": "busybox", **json.loads(fields)})


def make_container(**fields: Any) -> Container:  # noqa: ANN401 - as above
    job = make_job()
    plain = Container(
        "c1", job.container_name, ContainerState.RUNNING, agent=AGENT, job=job.id, attempt=1, plan="plan-1"
    )
    return replace(plain, **fields)


def near(moment: float) -> st.SearchStrategy[float]:
    return st.sampled_from([moment - 50.0, moment - 1.0, moment, moment + 1.0, moment + 50.0])


WALLS = near(WALL)
BOOTS = st.builds(BootTime, st.sampled_from(["boot-1", "boot-0"]), near(1000.0))
FAILURES = st.builds(
    StartFailure,
    st.sampled_from(FailureKind),
    st.sampled_from(["port_taken", "engine_refused"]),
    st.just("why"),
)
EXITS = st.builds(
    ExitFacts,
    st.sampled_from(Verdict),
    code=st.sampled_from([None, 0, 1, 137, 143]),
    oom=st.booleans(),
    started_at=st.none() | WALLS,
    finished_at=st.none() | WALLS,
    lost_code=st.sampled_from([None, "engine_stopped", "killed_outside"]),
)
INTENTS = st.builds(StartIntent, st.sampled_from(["c1", "c2"]), st.sampled_from(["boot-1", "boot-0"]))
LEASES = st.sampled_from([Lease(), Lease(("GPU-1",)), Lease((), (PortLease("web", 80, Proto.TCP, 20000),))])
RUNS = st.builds(
    Run,
    plan=st.sampled_from([None, "plan-1", "plan-2"]),
    intent=st.none() | INTENTS,
    started_at=st.none() | WALLS,
    deadline=st.none() | BOOTS,
    signalled_at=st.none() | WALLS,
    failure=st.none() | FAILURES,
    exit=st.none() | EXITS,
)
SPECS = st.fixed_dictionaries(
    {
        "timeout": st.sampled_from([30, 3600]),
        "retry": st.fixed_dictionaries(
            {
                "count": st.integers(0, 3),
                "on": st.lists(st.sampled_from(["failed", "lost", "timed_out"]), min_size=1, unique=True),
            }
        ),
    }
)


@st.composite
def jobs(draw: st.DrawFn, phases: tuple[Phase, ...] = tuple(Phase)) -> Job:
    return make_job(
        draw(SPECS),
        phase=draw(st.sampled_from(phases)),
        attempt=draw(st.integers(1, 4)),
        not_before=draw(st.none() | WALLS),
        waiting_for=draw(st.sampled_from([None, "image", "queue", "gpus"])),
        lease=draw(st.none() | LEASES),
        run=draw(RUNS),
        port_moves=draw(st.integers(0, 3)),
        start_moves=draw(st.integers(0, 1)),
        gpu_moves=draw(st.integers(0, 1)),
        attempt_stop=draw(st.none() | st.builds(Stop, st.sampled_from(ATTEMPT_CAUSES), WALLS)),
        job_stop=draw(st.none() | st.builds(Stop, st.sampled_from(JOB_CAUSES), WALLS)),
        kill_at=draw(st.none() | BOOTS),
        image_digest=draw(st.sampled_from([None, "busybox@sha256:1"])),
    )


CONTAINERS = st.builds(
    make_container,
    id=st.sampled_from(["c1", "c2"]),
    state=st.sampled_from(ContainerState),
    agent=st.sampled_from([AGENT, AGENT, AGENT, None, "another"]),
    plan=st.sampled_from(["plan-1", "plan-2", None]),
    exit_code=st.sampled_from([None, 0, 1, 137, 143]),
    oom=st.booleans(),
    started_at=st.none() | WALLS,
    finished_at=st.none() | WALLS,
)
SIGHTS = st.builds(
    Seen,
    agent_id=st.just(AGENT),
    container=st.none() | CONTAINERS,
    settle_seconds=st.sampled_from([0.0, 1.5]),
    image_was_looked_for=st.booleans(),
    signal_was_sent=st.booleans(),
    since_kill_seconds=st.sampled_from([None, 0.0, 30.0, 60.0, 1e6]),
)


def engine_facts(**change: Any) -> EngineFacts:  # noqa: ANN401 - fields of EngineFacts, checked by replace
    facts = EngineFacts(
        version="26.1.5",
        api_version="1.45",
        live_restore=True,
        seccomp=True,
        cgroup_version=2,
        architecture="amd64",
        cpus=8,
        memory_bytes=2**34,
        storage_driver="overlay2",
        userns=False,
        data_root="/var/lib/docker",
        runtimes=frozenset({"runc"}),
        cdi_dirs=(),
        cdi_gpus=frozenset(),
    )
    return replace(facts, **change)
