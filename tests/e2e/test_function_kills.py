"""SIGKILL of the daemon at each step of a child's start and of a result's way home, while other functions call it: each call once."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.author import Author, serving
from tests.e2e.client import Client, Json, expect
from tests.e2e.daemon import Daemon
from tests.e2e.points import Point, after
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow
Line = Mapping[str, Any]
CALLS, ROUNDS = ("start", "look", "cancel"), 20
ENOUGH = "enough"  # the name of a file that ends those who look for it
FUNCTIONS = """
async def result_of(self, job_id):
    while True:
        status = await self.get_job_status(job_id)
        if status["outcome"]:
            return status["result"]
        await asyncio.sleep(0.05)

@chute.job()
async def step(self, number: int):
    return number * number

@chute.job()
async def parent(self, file: str):
    ids, results = [], []
    while not os.path.exists(os.path.join(self.output_dir, file)):
        ids.append(await self.start_job("step", {"number": len(ids)}))
        results.append(await result_of(self, ids[-1]))
    return {"ids": ids, "results": results}

async def start_all(self):
    ids = [await self.start_job("step", {"number": 7}) for _ in range(2)]
    ids += [await self.start_job("step", {"number": 7}, key="one") for _ in range(2)]
    return ids

@chute.job(retry_count=2)
async def is_tried_again(self):
    ids = await start_all(self)
    await self.record_metric("started", len(ids))
    if self.attempt == 1:
        raise ConnectionError("once more")
    if self.attempt == 2:
        await result_of(self, ids[0])
        os.kill(os.getpid(), signal.SIGKILL)
    return {"ids": ids, "results": [await result_of(self, job_id) for job_id in ids]}

@chute.job()
async def calls_all(self, file: str):
    rounds, keyed, wrong = {}, set(), []

    async def start():
        keyed.add(await self.start_job("step", {"number": 1}, key="the only one"))

    async def look():
        own = await self.get_job_status(self.current_job_id)
        if own["id"] != self.current_job_id or own["phase"] != "running":
            wrong.append(own)

    async def cancel():
        if await self.cancel_job("11111111-0000-7000-8000-000000000001"):
            wrong.append("a stranger was cancelled")

    async def call_on(call):
        name = call.__name__
        while not os.path.exists(os.path.join(self.output_dir, file)):
            await call()
            rounds[name] = rounds.get(name, 0) + 1
            await self.record_metric(name, 1)
            await self.update_job_status(name, str(rounds[name]))
            await self.update_job_progress(progress=50, message=name)
            await asyncio.sleep(0.02)

    await asyncio.gather(*map(call_on, (start, look, cancel)))
    return {"rounds": rounds, "keyed": sorted(keyed), "wrong": wrong}

@chute.job()
async def returns_much(self):
    return "x" * (7 << 20)
"""


@dataclass(frozen=True)
class Of:
    """A point on the way of a job: of the parent, or of a child of its."""

    whose: str
    point: Point

    def at(self, parent: str) -> Callable[[Line], bool]:
        def matches(line: Line) -> bool:
            return self.point.matches(dict(line)) and (self._job_of(line) == parent) is (
                self.whose == "parent"
            )

        return matches

    def _job_of(self, line: Line) -> object:
        return line["child"] if "child" in line else line.get("job")

    def __str__(self) -> str:
        return f"{self.point} of the {self.whose}"


# In the order in which they come. A point that a child passed while the daemon was away is the next child's. What any job's container
# goes through is in test_kill_points.
OF_A_CHILD = [
    Of("child", point)
    for point in (
        Point("job.accepted"),
        Point("child.started"),
        Point("queue.decided", (("phase", "starting"),)),
        after("Start"),
        after("BeginRunning"),
        after("Judge"),
        after("Close"),
        after("Finish"),
    )
]
# It has each only once, and the daemon may be a line or two further when it is killed: so they are not near to each other.
OF_THE_PARENT = [Of("parent", after(step)) for step in ("Judge", "Close")]
LATE_SECONDS = 25.0


@dataclass(frozen=True)
class Survivors:
    daemon: Daemon
    client: Client
    parent: Json
    tried_again: Json
    calls_all: Json
    missed: list[Of]


@pytest.fixture(scope="module")
def daemon(session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    settings = {"queues.default": {"concurrency": 12}}
    with serving(session_engine, tmp_path_factory.mktemp("kills"), settings) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def author(daemon: Daemon, python_image: str) -> Author:
    return Author(daemon.local).deployed(python_image, FUNCTIONS, spec={"network": "none"})


@pytest.fixture(scope="module")
def survivors(daemon: Daemon, author: Author) -> Survivors:
    """Three functions that call all the while, and a kill at each step."""
    client = author.client
    calling, again = author.start("calls_all", {"file": ENOUGH}), author.start("is_tried_again")
    client.wait_phase(calling, "running")
    daemon.kill()
    daemon.start()
    parent = author.start("parent", {"file": ENOUGH})
    missed = kill_at(daemon, parent, OF_A_CHILD)
    give_enough(daemon, parent)
    missed += kill_at(daemon, parent, OF_THE_PARENT)
    daemon.start()
    expect(lambda: have_gone_on(client.job(calling)), "each call is answered again and again")
    give_enough(daemon, calling)
    ended = [client.wait_finished(job_id) for job_id in (parent, again, calling)]
    return Survivors(daemon, client, *ended, missed)


def give_enough(daemon: Daemon, job_id: str) -> None:
    (daemon.state / "jobs" / job_id / "outputs" / ENOUGH).touch()


def have_gone_on(job: Json) -> bool:
    return all(int(job["statuses"].get(name, 0)) >= ROUNDS for name in CALLS)


def kill_at(daemon: Daemon, parent: str, way: list[Of]) -> list[Of]:
    """Each in turn. Those that never came."""
    missed = []
    for of in way:
        daemon.kill()
        daemon.launch(of.at(parent))
        if not daemon.wait_killed(LATE_SECONDS):
            missed.append(of)
    daemon.kill()
    return missed


def test_a_parent_and_its_children_live_through_a_kill_at_each_step(survivors: Survivors) -> None:
    assert not survivors.missed, [str(of) for of in survivors.missed]
    parent = survivors.parent
    assert (parent["outcome"], parent["attempt"]) == ("succeeded", 1), parent["reason"]
    assert parent["result"]["results"] == [number**2 for number in range(len(parent["children"]))]
    assert parent["children"] == parent["result"]["ids"]
    check_each_once(survivors, [parent["id"], *parent["children"]])


def test_a_parent_that_is_tried_again_finds_the_children_that_it_has(survivors: Survivors) -> None:
    job = survivors.tried_again
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["failed", "failed", "succeeded"]
    first, second, keyed, same = job["result"]["ids"]
    assert len({first, second, keyed}) == 3
    assert keyed == same
    assert job["children"] == [first, second, keyed]
    assert job["result"]["results"] == [49] * 4
    assert job["metrics"]["started"]["count"] == 3
    check_each_once(survivors, job["children"])


def test_a_function_in_the_middle_of_its_calls_gets_every_answer_and_is_counted_once(
    survivors: Survivors,
) -> None:
    job = survivors.calls_all
    result = job["result"]
    assert (result["wrong"], len(result["keyed"])) == ([], 1)
    assert {name: job["metrics"][name]["count"] for name in CALLS} == result["rounds"]
    assert job["statuses"] == {name: str(count) for name, count in result["rounds"].items()}
    check_each_once(survivors, [job["id"], *result["keyed"]])


def check_each_once(survivors: Survivors, jobs: list[str]) -> None:
    assert [survivors.daemon.count_starts(job) for job in jobs] == [1] * len(jobs)
    assert {survivors.client.job(job)["outcome"] for job in jobs} == {"succeeded"}


@pytest.mark.parametrize("name", ["report.1.part", "report.1"])
def test_a_result_is_delivered_though_the_daemon_dies_over_it(
    daemon: Daemon, author: Author, name: str
) -> None:
    job_id = author.start("returns_much")
    kill_when_there_is(daemon, daemon.state / "jobs" / job_id / name)
    daemon.start()
    job = author.client.wait_finished(job_id)
    assert (job["outcome"], job["attempt"], job["result_bytes"]) == ("succeeded", 1, (7 << 20) + 2), job[
        "reason"
    ]
    reply = author.client.call("GET", f"/v1/jobs/{job_id}/result")
    assert reply.json == "x" * (7 << 20)
    assert daemon.count_starts(job_id) == 1


def kill_when_there_is(daemon: Daemon, file: Path) -> None:
    """As soon as it can be seen: such a file may be there for a few milliseconds only."""
    assert daemon.process is not None
    late_at = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < late_at, f"{file} never came"
        os.sched_yield()
    daemon.kill()
