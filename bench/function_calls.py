"""bench/function_calls — what a function that talks costs the daemon, and what one that floods its socket costs it and everybody else."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.figures import Figure, at_most, describe, percentile
from bench.functions import Functions, python_image
from bench.host import Agent, Bench, Json, run_alone
from bench.lagging_agent import LATE_FILE
from bench.processes import cpu_seconds, descendants

BENCH, CHUTE, QUIET = "function_calls", "talker", "no flood"
CALLS_A_SECOND = 10_000
MESSAGES = 1_000_000
MOST_REPORTING_PERCENT = 2.0
MOST_FLOOD_PERCENT = 30.0
MOST_LAG_SECONDS = 0.020
# What a neighbour notices.
MOST_ADDED_SECONDS = 0.005
SECONDS = 20
SETTLE_SECONDS = 3.0
ASK_SECONDS = 0.02
FLOODS = ("get_job_status", "report", "metrics", "hello")
FUNCTIONS = """
import asyncio, json, socket, threading, time

@chute.job()
async def reports(self, per_second: int, seconds: float):
    began, count = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while count < passed * per_second:
            await self.update_job_progress(progress=count % 101, message=f"step {count}")
            count += 1
        await asyncio.sleep(0.005)
    return count / seconds

@chute.job()
async def asks(self):
    while not self.should_shutdown:
        began = time.monotonic()
        await self.get_job_status(self.current_job_id)
        print(began, time.monotonic() - began)
        await asyncio.sleep(0.02)

def line(kind, number, job_id):
    call = {"id": number, "call": kind}
    if kind == "get_job_status":
        call["job_id"] = job_id
    if kind in ("report", "metrics"):
        call |= {"call": "report", "seq": number, "progress": {"percent": number % 101, "message": f"step {number}"}}
    if kind == "metrics":
        call["metrics"] = [["loss", 0.5, 1.5]] * 1200
    return json.dumps(call).encode() + b"\\n"

def drop(connection):
    while connection.recv(1 << 16):
        pass

def send(kind, numbers, job_id):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/.agent/job/agent.sock")
        threading.Thread(target=drop, args=(connection,), daemon=True).start()
        connection.sendall(b'{"id":0,"call":"hello"}\\n')
        for first in range(0, len(numbers), 100):
            connection.sendall(b"".join(line(kind, number, job_id) for number in numbers[first : first + 100]))

@chute.job()
def floods(self, kind: str, messages: int):
    # As many connections as there may be, with the SDK's; on each some reports wait to be durable.
    parts = [range(first, messages, 3) for first in (1, 2, 3)]
    senders = [threading.Thread(target=send, args=(kind, part, self.current_job_id)) for part in parts]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
"""


# When a call began, and how long it took.
Asked = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen of the daemon in some seconds. `late`: its loop, at each tick; `reads`: how long reads of the API took."""

    began: float
    ended: float
    percent: float
    late: list[float]
    reads: list[float]

    def waits(self, asked: Asked) -> list[float]:
        return [seconds for began, seconds in asked if self.began <= began < self.ended]


async def measure(bench: Bench) -> list[Figure]:
    image, seconds = await python_image(bench), bench.size(SECONDS, 5)
    late = Path(tempfile.mkdtemp(dir=bench.folder)) / "late"
    async with (
        bench.agent(environment={LATE_FILE: str(late)}, program="bench.lagging_agent") as agent,
        agent.phases() as phases,
    ):
        functions = Functions(agent, phases)
        await functions.deploy(CHUTE, image, FUNCTIONS)
        reporting = await _reporting(functions, seconds)
        flooded = await _flooded(functions, seconds, late)
    return [*reporting, *flooded]


async def _reporting(functions: Functions, seconds: int) -> list[Figure]:
    percents, rate = [], 0.0
    for per_second in (0, CALLS_A_SECOND):
        payload = {"per_second": per_second, "seconds": seconds + 2 * SETTLE_SECONDS}
        async with _running(functions, "reports", payload) as job:
            percents.append(await _percent(functions.agent.pid, seconds))
            rate = await functions.result(job)
    silent, talking = percents
    print(f"  silent {silent:.2f} % of a core; with {rate:.0f} updates a second {talking:.2f} %")
    name = f"update_job_progress {rate:.0f} times a second: CPU of the daemon over {seconds} s, less that of a silent job"
    return [_cpu(name, talking - silent, MOST_REPORTING_PERCENT)]


async def _flooded(functions: Functions, seconds: int, late: Path) -> list[Figure]:
    windows: dict[str, Window] = {}
    async with _running(functions, "asks", {}) as other:
        windows[QUIET] = await _window(functions.agent, other, seconds, late)
        for kind in FLOODS:
            async with _running(functions, "floods", {"kind": kind, "messages": MESSAGES}):
                windows[kind] = await _window(functions.agent, other, seconds, late)
        asked = await _asked(functions.agent, other)
    for kind, window in windows.items():
        _show(kind, window, asked)
    return _flood_figures(windows.pop(QUIET), windows, asked)


def _flood_figures(quiet: Window, floods: dict[str, Window], asked: Asked) -> list[Figure]:
    """Of each the flood that is the worst for it."""
    windows = floods.values()
    name = f"a flood of {MESSAGES} calls, the worst of {len(floods)} kinds"
    cpu = max(window.percent for window in windows) - quiet.percent
    lag = max(percentile(window.late, 99) for window in windows)
    calls = max(median(window.waits(asked)) for window in windows) - median(quiet.waits(asked))
    reads = max(median(window.reads) for window in windows) - median(quiet.reads)
    return [
        _cpu(f"{name}: CPU of the daemon, less that without", cpu, MOST_FLOOD_PERCENT),
        _milliseconds(f"{name}: the event loop is late, p99", lag, MOST_LAG_SECONDS),
        _milliseconds(f"{name}: added to another job's calls, median", calls, MOST_ADDED_SECONDS),
        _milliseconds(f"{name}: added to reads of the API, median", reads, MOST_ADDED_SECONDS),
    ]


def _milliseconds(name: str, seconds: float, most: float) -> Figure:
    return at_most(BENCH, name, seconds * 1e3, most * 1e3, "{:.1f} ms")


def _cpu(name: str, percent: float, most: float) -> Figure:
    return at_most(BENCH, name, percent, most, "{:.1f} % of a core")


def _show(name: str, window: Window, asked: Asked) -> None:
    print(
        f"  {name}: {window.percent:.1f} % of a core; loop late {describe(window.late, 'ms', 1e3)}; "
        f"another job's calls {describe(window.waits(asked), 'ms', 1e3)}; reads of the API {describe(window.reads, 'ms', 1e3)}"
    )


@asynccontextmanager
async def _running(functions: Functions, function: str, payload: Json) -> AsyncIterator[str]:
    """Past its start, and gone afterwards."""
    job = await functions.start(CHUTE, function, payload)
    await functions.phases.at((job, "running"))
    await asyncio.sleep(SETTLE_SECONDS)
    yield job
    if not functions.phases.has((job, "finished")):
        await functions.agent.cancel(job)
    await functions.phases.at((job, "finished"))


async def _window(agent: Agent, other: str, seconds: int, late: Path) -> Window:
    began, told = time.monotonic(), len(_lines(late))
    async with asyncio.TaskGroup() as group:
        percent = group.create_task(_percent(agent.pid, seconds))
        reads = group.create_task(_reads(agent, other, seconds))
    seen = [float(line) for line in _lines(late)[told:]]
    return Window(began, time.monotonic(), percent.result(), seen, reads.result())


async def _asked(agent: Agent, job: str) -> Asked:
    async with agent.api.get(f"http://agent/v1/jobs/{job}/logs") as reply:
        lines = (await reply.text()).splitlines()
    return [(float(began), float(seconds)) for began, seconds in map(str.split, lines)]


def _lines(late: Path) -> list[str]:
    return late.read_text().splitlines()


async def _percent(pid: int, seconds: int) -> float:
    """Of a core, with the processes that are its own."""
    before, began = _cpu_of_all(pid), time.monotonic()
    await asyncio.sleep(seconds)
    return (_cpu_of_all(pid) - before) / (time.monotonic() - began) * 100


def _cpu_of_all(pid: int) -> float:
    return sum(cpu_seconds(one) for one in descendants(pid))


async def _reads(agent: Agent, job: str, seconds: int) -> list[float]:
    taken, end = [], time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        await agent.call("GET", f"/v1/jobs/{job}")
        taken.append(time.monotonic() - began)
        await asyncio.sleep(ASK_SECONDS)
    return taken


if __name__ == "__main__":
    run_alone(measure)
