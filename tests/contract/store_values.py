"""Jobs, requests and events to put into a store, and the stores to put them into."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from errno import ENOSPC
from pathlib import Path
from subprocess import run

from agent.adapters.sqlite import SqliteStore
from agent.core.function import FaultKind, FunctionCall, Report, ReportStatus
from agent.core.gpu_usage import GpuUsage, GpuUse, Sum
from agent.core.job import (
    BootTime,
    ClosedAttempt,
    ExitFacts,
    FailureKind,
    FiredBy,
    Job,
    Kind,
    NewEvent,
    Outcome,
    Reason,
    Run,
    StartFailure,
    StartIntent,
    Stop,
    StopCause,
    Verdict,
    Viewer,
)
from agent.core.lease import Lease, PortLease
from agent.core.ssh_key import SshKey
from agent.errors import Blame, Phase
from agent.interfaces import NewJob
from agent.spec import Proto, parse_spec
from tests.fakes.store import MemoryStore

ANN, BOB = Viewer("ann"), Viewer("bob")
ROOT = Viewer("root", sees_all=True)
PLENTY = 1_000
REPOSITORY = Path(__file__).parents[2]

TestedStore = MemoryStore | SqliteStore


@dataclass
class WallClock:
    """Wall time that a test sets."""

    seconds: float = 1_000.0

    def now(self) -> float:
        return self.seconds


def request(
    job_id: str = "a",
    owner: str = "ann",
    *,
    key: str | None = None,
    body: str = "digest",
    at: float = 10.0,
    call: FunctionCall | None = None,
    **spec: object,
) -> NewJob:
    parsed = parse_spec({"image": "alpine:3.20", **spec})
    return NewJob(job_id, owner, kind_of(call), parsed, at, key, body, call=call)


def kind_of(call: FunctionCall | None) -> Kind:
    if call is None:
        return Kind.CONTAINER
    return Kind.DESCRIBE if call.function is None else Kind.FUNCTION


async def accepted(store: TestedStore, job_id: str = "a", owner: str = "ann", **more: object) -> Job:
    return (await store.accept(request(job_id, owner, **more), PLENTY)).job  # type: ignore[arg-type] # keywords of request


async def finished(
    store: TestedStore, job_id: str = "a", owner: str = "ann", at: float = 20.0, **more: object
) -> Job:
    job = await accepted(store, job_id, owner, **more)
    done = replace(job, phase=Phase.FINISHED, outcome=Outcome.SUCCEEDED, finished_at=at)
    return await store.save(done, [told("finished")], closed(1))


def told(what: str = "something") -> NewEvent:
    return NewEvent("job.told", {"what": what})


def closed(number: int, outcome: Outcome = Outcome.SUCCEEDED) -> ClosedAttempt:
    return ClosedAttempt(
        number,
        outcome,
        REASON if outcome is Outcome.FAILED else None,
        ExitFacts(Verdict.OWN, 137, oom=True, started_at=1.5, finished_at=2.5, peak_memory_bytes=1 << 40),
        LEASE,
        "c0ffee",
        30.25,
        USAGE,
    )


LEASE = Lease(("GPU-1", "GPU-2"), (PortLease("http", 8080, Proto.HTTP, 31_000),))
USAGE = GpuUsage(
    (GpuUse("GPU-1", 1 << 36, Sum(1.5, 3.25), Sum(1e6, 3.5), Sum(0, 3.25)), GpuUse("GPU-2")), 1 << 37
)
REASON = Reason("oom", Phase.RUNNING, Blame.USER, True, "zu wenig „Speicher“\x00\n", "Ask for more.")  # noqa: FBT003 - a value
BOOT = BootTime("boot-1", 12_345.678_9)


def with_everything(job: Job) -> Job:
    """The row with a value other than the default in each field that may change."""
    facts = ExitFacts(
        Verdict.LOST, 143, oom=True, started_at=0.1, finished_at=0.2, lost_code="killed_outside"
    )
    return replace(
        job,
        phase=Phase.STOPPING,
        attempt=3,
        call=FunctionCall("chute", "v1", "train", "main.py", "app", "parent", 2),
        fired_by=FiredBy("s1", 60.0),
        queued_at=11.5,
        not_before=12.5,
        waiting_for="gpus",
        waiting_words="GPU-1, which needs a reset",
        has_disk=True,
        ssh_host_key="ssh-ed25519 AAAA",
        ssh_keys=(SshKey("ssh-ed25519 BBBB me", "ann"), SshKey("ssh-ed25519 CCCC", "bob", 18.5)),
        lease=LEASE,
        run=Run(
            plan="plan",
            intent=StartIntent("c0ffee", "boot-1"),
            started_at=13.5,
            deadline=BOOT,
            signalled_at=14.5,
            failure=StartFailure(FailureKind.PORT, "port_taken", "in use", 31_000),
            exit=facts,
            ssh_user="worker",
            first_log_ns=7,
            report=Report(ReportStatus.FAILED, FaultKind.RAISED, "ValueError", "no"),
            held=LEASE,
            gpu_usage=USAGE,
        ),
        port_moves=2,
        start_moves=1,
        gpu_moves=1,
        attempt_stop=Stop(StopCause.TIMEOUT, 15.5, "too long"),
        job_stop=Stop(StopCause.CANCEL, 16.5),
        kill_at=BOOT,
        starts_no_more=True,
        upload_stopped_at=16.75,
        image_digest="docker.io/library/alpine@sha256:" + "a" * 64,
        outcome=Outcome.LOST,
        reason=REASON,
        started_at=13.25,
        finished_at=17.5,
    )


def stopped(job: Job) -> tuple[Job, Sequence[NewEvent]]:
    """A `decide`: leave a stop request."""
    return replace(job, job_stop=Stop(StopCause.CANCEL, 5.0)), [told("stop")]


@asynccontextmanager
async def opened(
    folder: Path, now: Callable[[], float] = time.time, busy_seconds: float = 5.0
) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open_store(folder / "agent.db", now, busy_seconds)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of its own in memory, of so many KiB."""
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        run(["umount", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Write a file until its disk has no byte free."""
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError as error:
        if error.errno != ENOSPC:
            raise
