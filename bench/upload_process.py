"""bench/upload_process — a process with what the daemon sends outputs by, wired as there, and no more. `bench/uploads` runs it.

    python -m bench.upload_process STATE URL FOLDER...

sends each folder as the outputs of one job by PUT, all at once, and prints what it took as a line of JSON.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent import log as logging
from agent.adapters.folders import open_folders
from agent.adapters.linux import SystemClock, share_one_heap
from agent.adapters.outgoing import OutgoingClient
from agent.adapters.sqlite import SqliteStore
from agent.adapters.uploads import UploadDeliveries
from agent.aio import Threads, beside
from agent.config import Config
from agent.core.job import Job, Kind, Outcome
from agent.core.outgoing import OutgoingRules
from agent.core.upload import UploadState
from agent.daemon.database import open_database
from agent.daemon.ids import new_job_id
from agent.daemon.serve import FOLDER_THREADS
from agent.daemon.values import output_limits_of
from agent.errors import Phase
from agent.interfaces import NewJob, SecretFiles
from agent.jobs.hiding import Hiding
from agent.jobs.uploads import Uploads
from agent.jobs.uploads.budget import Budget
from agent.jobs.uploads.names import Names
from agent.jobs.uploads.tools import UploadTools
from agent.spec import Upload, UploadTo, parse_spec
from bench.figures import percentile
from bench.lag import Lag

IDLE_SECONDS = 1.0
# What tests/upload_servers wants of each PUT; a secret of the job's as any other.
HEADERS = {"Authorization": "Bearer hush"}
RULES = OutgoingRules(allow_http=True, hosts=frozenset({"127.0.0.1"}))


@dataclass(frozen=True, slots=True)
class Took:
    """`grown`: MiB of resident memory at the peak beyond those at rest before. `lag`: p99 of how late the loop was, in seconds."""

    seconds: float
    cpu: float
    grown: float
    lag: float


@dataclass(frozen=True, slots=True)
class World:
    tools: UploadTools
    state: Path
    url: str


async def run(state: Path, url: str, sources: list[Path]) -> Took:
    async with opened(state, url) as world, asyncio.TaskGroup() as group:
        jobs = [await make_job(world, source) for source in sources]
        ended = {job.id: asyncio.Event() for job in jobs}
        uploads = Uploads(world.tools, lambda job_id: ended[job_id].set())
        uploads.use(group)
        try:
            return await measure(world, uploads, jobs, ended)
        finally:
            for job, source in zip(jobs, sources, strict=True):
                await asyncio.to_thread(outputs_of(state, job.id).rename, source)


async def measure(world: World, uploads: Uploads, jobs: list[Job], ended: dict[str, asyncio.Event]) -> Took:
    # As daemon/serve does once all stands.
    gc.collect()
    gc.freeze()
    await asyncio.sleep(IDLE_SECONDS)
    lag = Lag()
    before = reset_peak_mib()
    async with beside(lag.watch(), "lag"):
        cpu, began = time.process_time(), time.perf_counter()
        for job in jobs:
            uploads.join(job)
        await asyncio.gather(*(event.wait() for event in ended.values()))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    grown = peak_mib() - before
    records = (await world.tools.store.upload_records(list(ended))).values()
    assert all(record.state is UploadState.COMPLETE for record in records), records
    return Took(seconds, cpu, grown, percentile(lag.late, 99))


@asynccontextmanager
async def opened(state: Path, url: str) -> AsyncIterator[World]:
    """The adapters as the daemon opens them."""
    redactor = logging.configure("info", "json")
    threads = Threads("folders", FOLDER_THREADS)
    folders = await open_folders(state, state / "run", threads)
    store: SqliteStore = await open_database(state)
    outgoing = OutgoingClient(lambda: RULES, "gpu-agent/bench")
    config = Config(state_dir=state)
    tools = UploadTools(
        store=store,
        folders=folders,
        watch=folders,
        deliveries=UploadDeliveries(outgoing),
        clock=SystemClock(),
        random=random.random,
        hiding=Hiding(redactor),
        budget=Budget(config.uploads.parallel),
        names=Names(),
        limits=lambda: output_limits_of(config),
    )
    try:
        yield World(tools, state, url)
    finally:
        await outgoing.close()
        await store.close()
        threads.close()
        folders.close()


async def make_job(world: World, source: Path) -> Job:
    """A job that has ended well, with the folder as its outputs: moved there, so that no file has two names."""
    upload = Upload(to=UploadTo.PUT, url=f"{world.url}/{{job}}/{{path}}", headers=HEADERS)
    written = upload.model_dump(exclude_defaults=True)
    spec = parse_spec({"image": "bench", "command": ["true"], "outputs": {"upload": written}})
    clock = world.tools.clock
    job_id = new_job_id(clock)()
    await world.tools.folders.claim(job_id, "{}", SecretFiles({}, upload=upload))
    await asyncio.to_thread(source.rename, outputs_of(world.state, job_id))
    new = NewJob(job_id, "bench", Kind.CONTAINER, spec, clock.now(), None, job_id)
    job = (await world.tools.store.accept(new, most_queued=1_000_000)).job
    return await world.tools.store.save(replace(job, phase=Phase.UPLOADING, outcome=Outcome.SUCCEEDED))


def outputs_of(state: Path, job_id: str) -> Path:
    return state / "jobs" / job_id / "outputs"


def reset_peak_mib() -> float:
    """From now on the peak is counted anew (man 5 proc_pid_clear_refs); it begins as what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def main() -> None:
    state, url, *sources = sys.argv[1:]
    share_one_heap()
    took = asyncio.run(run(Path(state), url, [Path(source) for source in sources]))
    print(json.dumps(asdict(took)))


if __name__ == "__main__":
    main()
