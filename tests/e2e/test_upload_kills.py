"""SIGKILL of the daemon while outputs leave: everything is at the endpoint in the end, and what the journal has as sent is not sent again."""

import hashlib
import json
import os
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from itertools import count
from typing import Any

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.points import Point, after, asked_of, told_at_once
from tests.e2e.sink import MANIFEST, UPLOADS, Act, Request, Sink, sinking
from tests.e2e.test_uploads import files_with_secrets, left_by, outputs_of, upload_of
from tests.private_engine import PrivateEngine, busybox_image

PARALLEL = 4
SETTINGS = {"uploads": {**UPLOADS, "parallel": PARALLEL}}
FILES = 40
SCRIPT = f"cd /outputs; for n in $(seq {FILES}); do echo $n > f$n; done; head -c 3000000 /dev/urandom > large"
# The endpoint refuses these at first where an upload is retried.
REFUSED = {f"f{n}" for n in range(1, 21)}


@dataclass(frozen=True)
class Nth:
    """The `n`-th such line."""

    point: Point
    n: int

    def counting(self) -> Callable[[dict[str, Any]], bool]:
        left = count(self.n, -1)
        return lambda line: self.point.matches(line) and next(left) == 1

    def __str__(self) -> str:
        return f"{self.point}-{self.n}"


def at(event: str, n: int = 1) -> Nth:
    return Nth(Point(event), n)


OF_AN_UPLOAD = [
    Nth(after("Close"), 1),
    at("upload.began"),
    at("upload.file_kept"),
    at("upload.file_kept", 20),
    at("upload.file_kept", FILES + 1),
    at("upload.end_told"),
    at("upload.decided"),
    at("upload.secrets_dropped"),
    at("upload.ended"),
    at("secrets.dropped"),
]
OF_A_RETRY = [
    at("upload.retry_announced"),
    at("upload.target_kept"),
    at("upload.retried"),
    at("upload.began"),
    at("upload.file_kept", 10),
    at("upload.end_told"),
    at("upload.secrets_dropped"),
]


def sent_rows(daemon: Daemon, job_id: str) -> set[str]:
    """What the journal has as sent, read behind the agent's back."""
    rows = daemon.query(
        "SELECT path FROM uploads JOIN jobs ON jobs.seq = uploads.job WHERE jobs.id = ? AND uploads.state = 'sent'",
        job_id,
    )
    return {row["path"] for row in rows}


def came_after(sink: Sink, job_id: str, moment: float) -> Counter[str]:
    return Counter(one.path for one in sink.requests if one.job == job_id and one.began >= moment)


def check_all_is_there(daemon: Daemon, sink: Sink, job_id: str) -> None:
    files = {
        os.fsdecode(path): hashlib.sha256(data).hexdigest()
        for path, data in left_by(outputs_of(daemon, job_id)).items()
    }
    assert {path: one.sha256 for path, one in sink.files(job_id).items()} == files
    told = json.loads(sink.of(job_id)[MANIFEST].data)
    assert {entry["path"]: entry["sha256"] for entry in told["files"]} == files
    assert files_with_secrets(daemon) == []
    numbers = [row["n"] for row in daemon.query("SELECT n FROM events ORDER BY seq")]
    assert numbers == list(range(1, len(numbers) + 1))


def leave(daemon: Daemon, sink: Sink, nth: Nth) -> None:
    job_id = str(uuid.uuid4())
    body = daemon.local.spec(SCRIPT, outputs={"upload": sink.upload()})
    daemon.launch(nth.counting())
    daemon.wait_ready()
    assert daemon.local.call("PUT", f"/v1/jobs/{job_id}", body).status == 201
    assert daemon.wait_killed(), f"never came to {nth}: {daemon.tail()}"
    sent, moment = sent_rows(daemon, job_id), time.monotonic()

    daemon.start()
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["upload"]["state"], job["upload"]["files_done"]) == (
        "succeeded",
        "complete",
        FILES + 1,
    )
    assert not sent & set(came_after(sink, job_id, moment))
    twice = {path for path, tries in sink.tries(job_id).items() if tries > 1}
    assert len(twice - {MANIFEST}) <= PARALLEL
    assert max(sink.tries(job_id).values()) <= 2
    check_all_is_there(daemon, sink, job_id)


def be_retried(daemon: Daemon, sink: Sink, nth: Nth) -> None:
    sink.act = lambda _job, path: Act.FORBID if path in REFUSED else Act.TAKE
    daemon.start()
    job_id = daemon.local.submit(SCRIPT, outputs={"upload": sink.upload()})
    job = daemon.local.wait_finished(job_id)
    assert (job["upload"]["state"], job["upload"]["files_failed"]) == ("partial", len(REFUSED))
    daemon.stop()

    sink.act = lambda _job, _path: Act.TAKE
    retry, asked = f"/v1/jobs/{job_id}/outputs/retry", {"upload": sink.upload()}
    daemon.launch(nth.counting())
    daemon.wait_ready()
    with suppress(OSError, HTTPException):  # killed before it answers
        daemon.local.call("POST", retry, asked)
    assert daemon.wait_killed(), f"never came to {nth}: {daemon.tail()}"
    sent, moment = sent_rows(daemon, job_id), time.monotonic()

    daemon.start()
    expect(lambda: upload_of(daemon.local, job_id)["state"] != "sending", "it has gone on")
    if upload_of(daemon.local, job_id)["state"] != "complete":
        assert files_with_secrets(daemon) == []
        assert nth.point.event in {"upload.retry_announced", "upload.target_kept"}
        assert daemon.local.call("POST", retry, asked).status == 202
        expect(lambda: upload_of(daemon.local, job_id)["state"] == "complete", "it has left")
    assert not sent & set(came_after(sink, job_id, moment))
    check_all_is_there(daemon, sink, job_id)
    after_all = daemon.local.job(job_id)
    assert {**after_all, "upload": None} == {**job, "upload": None}


@dataclass(frozen=True)
class Case:
    story: Callable[[Daemon, Sink, Nth], None]
    nth: Nth

    def __str__(self) -> str:
        return f"{self.story.__name__}-{self.nth}"


CASES = [*(Case(leave, nth) for nth in OF_AN_UPLOAD), *(Case(be_retried, nth) for nth in OF_A_RETRY)]


@pytest.fixture(scope="module")
def ends(
    request: pytest.FixtureRequest, session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Case, "Future[None]"]]:
    image, folder = busybox_image(session_engine), tmp_path_factory.mktemp("kills")

    def tell(case: Case) -> None:
        daemon = Daemon(folder / f"d{CASES.index(case)}", session_engine, image, SETTINGS)
        try:
            with sinking(daemon.net) as sink:
                case.story(daemon, sink, case.nth)
        finally:
            daemon.clean_up()

    with told_at_once(asked_of(request.session, Case), tell) as told:
        yield told


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_kill_while_outputs_leave_loses_nothing_and_repeats_nothing_that_was_written_down(
    case: Case, ends: dict[Case, "Future[None]"]
) -> None:
    ends[case].result(timeout=300)


def test_a_kill_in_the_middle_of_a_large_file_sends_that_once_more_and_no_other(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        sink.act = lambda _job, path: Act.SLOW if path == "large" else Act.TAKE
        script = "cd /outputs; echo a > a; echo b > b; truncate -s 300M large; echo end >> large"
        job_id = daemon.local.submit(script, outputs={"upload": sink.upload()})

        def is_half_way(one: Request) -> bool:
            return one.path == "large" and one.size > 30 << 20

        sink.until(is_half_way, "a part of it is there")
        expect(lambda: sent_rows(daemon, job_id) == {"a", "b"}, "the others are written down")
        daemon.kill()
        sink.act = lambda _job, _path: Act.TAKE
        sink.free.set()
        daemon.start()
        assert daemon.local.wait_finished(job_id)["upload"]["state"] == "complete"
        assert sink.tries(job_id) == {"a": 1, "b": 1, "large": 2, MANIFEST: 1}
        assert [one.is_taken for one in sink.requests if one.path == "large"] == [False, True]
        check_all_is_there(daemon, sink, job_id)


@pytest.mark.slow
def test_ten_thousand_files_arrive_once_each_but_for_what_was_on_its_way_at_each_kill(
    make_daemon: Make,
) -> None:
    daemon = make_daemon(SETTINGS).start()
    files, kills, draw = 10_000, 3, random.Random(7)
    with sinking(daemon.net) as sink:
        script = f"cd /outputs; i=0; while [ $i -lt {files} ]; do echo $i > f$i; i=$((i+1)); done"
        job_id = daemon.local.submit(script, outputs={"upload": sink.upload()})
        for _ in range(kills):
            goal = len(sink.requests) + draw.randint(500, 2500)
            expect(lambda goal=goal: len(sink.requests) >= goal, "so many have come", seconds=120)
            daemon.kill()
            sent, moment = sent_rows(daemon, job_id), time.monotonic()
            daemon.start()
            expect(lambda moment=moment: sum(came_after(sink, job_id, moment).values()) > 100, "it goes on")
            assert not sent & set(came_after(sink, job_id, moment))
        job = daemon.local.wait_finished(job_id, seconds=300)
        assert (job["upload"]["state"], job["upload"]["files_done"]) == ("complete", files)
        assert sum(sink.tries(job_id).values()) <= files + 1 + kills * PARALLEL
        check_all_is_there(daemon, sink, job_id)
