"""Jobs that start each other on a real engine: a chain drawn by the real command line, a step that fails, and a cancel of all that came of one."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException

import pytest

from tests.e2e.author import Author, serving
from tests.e2e.client import Client, Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import REPOSITORY, Daemon
from tests.e2e.points import Point
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow
GO = "go"  # the name of a file for which a held step waits
SECONDS = 60
ASKED = """
    SELECT json_extract(rest, '$.job_stop') IS NOT NULL AND json_extract(rest, '$.starts_no_more') = 1 AS asked
    FROM jobs WHERE kind = 'function'
"""
FUNCTIONS = """
async def held(self, is_held):
    while is_held and not os.path.exists(os.path.join(self.output_dir, "go")):
        await asyncio.sleep(0.05)

@chute.job(name="workflow_step_1", timeout=300)
async def first(self, workflow_id: str, fails: bool = False, holds: bool = False):
    if fails:
        raise PermanentError("there is nothing to begin with")
    await self.start_job("workflow_step_2", {"workflow_id": workflow_id, "previous_result": {"number": 20}, "holds": holds})
    return {"number": 20}

@chute.job(name="workflow_step_2", timeout=300)
async def second(self, workflow_id: str, previous_result: dict, holds: bool):
    if holds:
        await self.start_job("beside", {})
    try:
        await held(self, holds)
    except asyncio.CancelledError:
        try:
            await self.start_job("workflow_step_final", {"workflow_id": workflow_id, "all_results": []})
        except Exception as refused:
            await self.update_job_status("refused", str(refused))
        raise
    result = {"number": previous_result["number"] + 1}
    await self.start_job("workflow_step_final", {"workflow_id": workflow_id, "all_results": [previous_result, result]})
    return result

@chute.job(name="workflow_step_final", timeout=300)
async def final(self, workflow_id: str, all_results: list):
    return {"workflow_id": workflow_id, "sum": sum(result["number"] for result in all_results)}

@chute.job(timeout=300)
async def beside(self):
    await held(self, True)

@chute.job(timeout=300)
async def spread(self, level: int, number: int = 0):
    told = 0
    while True:
        try:
            await self.start_job("spread", {"level": level + 1, "number": told})
            told += 1
        except Exception:
            pass
        await asyncio.sleep(0.05)
"""


@pytest.fixture(scope="module")
def daemon(session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(session_engine, tmp_path_factory.mktemp("workflows")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def author(daemon: Daemon, python_image: str) -> Author:
    # A function is cancelled after half of its own grace: a shorter one of a stop would be over before.
    return Author(daemon.local).deployed(python_image, FUNCTIONS, spec={"network": "none", "grace": 8})


def cli(daemon: Daemon, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "agent", *words, "--config", str(daemon.config_file)],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "HOME": "/root", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def tree(client: Client, job_id: str) -> list[Json]:
    reply = client.call("GET", f"/v1/jobs/{job_id}/tree")
    assert reply.status == 200, reply.body
    items: list[Json] = reply.json["items"]
    return items


def functions(items: list[Json]) -> list[str]:
    return [item["function"] for item in items]


def all_ended(client: Client, job_id: str) -> list[Json]:
    """The tree, once all of it is finished."""
    expect(
        lambda: {item["phase"] for item in tree(client, job_id)} == {"finished"},
        "the tree has ended",
        SECONDS,
    )
    return tree(client, job_id)


def test_three_steps_run_as_a_chain_and_are_drawn(daemon: Daemon, author: Author) -> None:
    first = author.finished("workflow_step_1", {"workflow_id": "w1"})
    expect(lambda: len(tree(author.client, first["id"])) == 3, "all steps are started", SECONDS)
    items = all_ended(author.client, first["id"])
    assert functions(items) == ["workflow_step_1", "workflow_step_2", "workflow_step_final"]
    assert [item["depth"] for item in items] == [0, 1, 2]
    assert author.client.job(items[2]["id"])["result"] == {"workflow_id": "w1", "sum": 41}
    shown = cli(daemon, "show", items[1]["id"])
    drawn = shown.splitlines()[-3:]
    assert drawn[0].startswith("✓ workflow_step_1 ")
    assert drawn[1].startswith("└─ ✓ workflow_step_2 ◀")
    assert drawn[2].startswith("   └─ ✓ workflow_step_final")
    assert max(map(len, shown.splitlines())) <= 80


def test_a_first_step_that_fails_leaves_the_rest_unstarted_and_says_so(
    daemon: Daemon, author: Author
) -> None:
    job = author.finished("workflow_step_1", {"workflow_id": "w2", "fails": True})
    assert (job["outcome"], job["children"]) == ("failed", [])
    assert functions(tree(author.client, job["id"])) == ["workflow_step_1"]
    *_, line, told = cli(daemon, "show", job["id"]).splitlines()
    assert "function_refused" in line
    assert told == "└─ failed; there is no job that it started"


def test_a_cancel_with_children_ends_what_runs_and_nothing_follows(daemon: Daemon, author: Author) -> None:
    first = author.finished("workflow_step_1", {"workflow_id": "w3", "holds": True})
    expect(
        lambda: (
            [item["phase"] for item in tree(author.client, first["id"])] == ["finished", "running", "running"]
        ),
        "the second step runs, and one beside it",
        SECONDS,
    )
    told = cli(daemon, "stop", "--children", "--wait", first["id"])
    assert told == f"{first['id']} succeeded; 2 jobs asked to stop\n"
    items = tree(author.client, first["id"])
    assert functions(items) == ["workflow_step_1", "workflow_step_2", "beside"]
    assert [(item["outcome"], item["reason_code"]) for item in items] == [
        ("succeeded", None),
        ("cancelled", "parent_cancelled"),
        ("cancelled", "parent_cancelled"),
    ]
    # It had its grace, and asked: in vain.
    assert "starts no more" in author.client.job(items[1]["id"])["statuses"]["refused"]


def test_a_cancel_alone_leaves_the_others_and_the_function_may_go_on(author: Author) -> None:
    first = author.finished("workflow_step_1", {"workflow_id": "w4", "holds": True})
    expect(lambda: len(tree(author.client, first["id"])) == 3, "the second step runs", SECONDS)
    _, second, beside = tree(author.client, first["id"])
    author.client.wait_phase(second["id"], "running")
    assert author.client.cancel(second["id"]).json["asked"] == 1
    author.client.wait_finished(second["id"])
    assert author.client.job(beside["id"])["outcome"] is None
    assert "workflow_step_final" in functions(tree(author.client, first["id"]))
    assert author.client.call("POST", f"/v1/jobs/{first['id']}/cancel?children=true&grace=0").status == 202
    all_ended(author.client, first["id"])


@pytest.fixture
def spreading(make_daemon: Make, python_image: str) -> tuple[Daemon, Author]:
    """A tree that grows as fast as it may, in a queue that is too small for it."""
    daemon = make_daemon(
        {"jobs": {"max_children": 3, "max_depth": 2}, "queues.default": {"concurrency": 5}}
    ).start()
    return daemon, Author(daemon.local).deployed(
        python_image, FUNCTIONS, spec={"network": "none", "grace": 1}
    )


def check_ended_by_the_cancel(daemon: Daemon, client: Client, root: str) -> None:
    known = len(daemon.query("SELECT 1 FROM functions"))
    items = all_ended(client, root)
    assert {item["outcome"] for item in items} == {"cancelled"}
    reasons = Counter(item["reason_code"] for item in items)
    assert reasons == {"cancelled": 1, "parent_cancelled": len(items) - 1}
    assert len(daemon.query("SELECT 1 FROM functions")) == known
    assert daemon.containers() == []
    assert all(daemon.count_starts(item["id"]) <= 1 for item in items)


def test_a_cancel_that_is_written_holds_though_the_daemon_dies_before_it_answers(
    spreading: tuple[Daemon, Author],
) -> None:
    daemon, author = spreading
    root = author.start("spread", {"level": 0})
    expect(lambda: len(tree(author.client, root)) >= 6, "the tree grows", SECONDS)
    daemon.kill()
    daemon.launch(lambda line: Point("family.cancelled").matches(dict(line)))
    daemon.wait_ready()
    with suppress(OSError, HTTPException):
        author.client.call("POST", f"/v1/jobs/{root}/cancel?children=true")
    assert daemon.wait_killed()
    daemon.start()
    check_ended_by_the_cancel(daemon, author.client, root)


@pytest.mark.parametrize("milliseconds", [0, 5, 20, 60, 200])
def test_a_daemon_that_is_killed_around_the_cancel_asks_all_of_them_or_none(
    spreading: tuple[Daemon, Author], milliseconds: int
) -> None:
    daemon, author = spreading
    root = author.start("spread", {"level": 0})
    expect(lambda: len(tree(author.client, root)) >= 4, "the tree grows", SECONDS)
    statuses: list[int] = []

    def cancel() -> None:
        with suppress(OSError, HTTPException):
            statuses.append(author.client.call("POST", f"/v1/jobs/{root}/cancel?children=true").status)

    asking = threading.Thread(target=cancel)
    asking.start()
    time.sleep(milliseconds / 1000)  # the moment of the kill is what is tried
    daemon.kill()
    asking.join()
    asked = [row["asked"] for row in daemon.query(ASKED)]
    assert len(set(asked)) == 1, "some were asked and some not"
    if statuses:
        assert asked[0]
    daemon.start()
    if not asked[0]:
        assert author.client.call("POST", f"/v1/jobs/{root}/cancel?children=true").status == 202
    check_ended_by_the_cancel(daemon, author.client, root)
