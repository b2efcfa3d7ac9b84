"""Jobs that misbehave: each ends as itself, and the daemon and its neighbours do not notice."""

import json
import re
from hashlib import sha256

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make, Registry
from tests.e2e.daemon import Daemon

MIB = 1 << 20


def test_a_job_that_ignores_its_stop_signal_is_killed_after_the_grace(daemon: Daemon) -> None:
    job_id = daemon.local.submit("trap '' TERM; echo up; while :; do sleep 0.1; done", grace=1)
    expect(lambda: "up" in daemon.local.log(job_id), "the job is up")
    daemon.local.cancel(job_id)
    job = daemon.local.wait_finished(job_id, seconds=30)
    assert (job["outcome"], job["exit"]["code"], job["exit"]["signal"]) == ("cancelled", 137, 9)


def test_a_fork_bomb_stays_within_its_processes(daemon: Daemon) -> None:
    bomb = "i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i+1)); done; wait"
    job_id = daemon.local.submit(bomb, pids=32)
    neighbour = daemon.local.submit("echo alive")
    assert daemon.local.wait_finished(neighbour)["outcome"] == "succeeded"
    assert daemon.local.wait_finished(job_id)["outcome"] == "failed"
    assert "can't fork" in daemon.local.log(job_id)


def test_a_job_that_eats_its_memory_is_told_so_with_its_peak(daemon: Daemon) -> None:
    # A tail without a line end keeps all that it reads.
    job_id = daemon.local.submit("exec tail /dev/zero", memory=32 * MIB)
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"], job["reason"]["blame"]) == (
        "failed",
        "out_of_memory",
        "user",
    )
    assert (job["exit"]["code"], job["exit"]["oom"], job["exit"]["peak_memory"]) == (137, True, 32 * MIB)


def test_a_job_that_fills_its_log_keeps_the_latest_lines_and_says_that_others_are_gone(
    make_daemon: Make,
) -> None:
    daemon = make_daemon({"engine": {"log_size": "200kB", "log_files": 2}}).start()
    count = 60_000
    job_id = daemon.local.submit(
        f'echo line 0; sleep 2; awk "BEGIN {{ for (i = 1; i <= {count}; i++) print \\"line \\" i \\" of many\\" }}"'
    )
    assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    records = [json.loads(line) for line in daemon.local.raw_log(job_id, "?format=ndjson").splitlines()]
    numbers = [
        int(found[1]) for record in records if (found := re.match(r"line (\d+)", str(record.get("line"))))
    ]
    assert numbers == list(range(numbers[0], count + 1))
    assert 1 < numbers[0] < count
    assert records[0]["type"] == "truncated"
    assert records[0]["cause"] == "rotated"


def test_long_lines_and_bytes_that_are_no_text_come_whole(daemon: Daemon) -> None:
    job_id = daemon.local.submit(
        "head -c 1048576 /dev/zero | tr '\\0' x; echo; head -c 100000 /dev/urandom | tee /outputs/bytes; echo; echo end"
    )
    assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    raw = daemon.local.raw_log(job_id)
    bytes_printed = daemon.local.call("GET", f"/v1/jobs/{job_id}/outputs/bytes").body
    assert raw.startswith(b"x" * MIB + b"\n")
    assert sha256(raw[MIB + 1 :]).digest() == sha256(bytes_printed + b"\nend\n").digest()


FILES = "i=0; while [ $i -lt {count} ]; do : > /outputs/f$i; i=$((i+1)); done"


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_a_job_that_writes_very_many_files_can_be_listed_and_forgotten(make_daemon: Make, count: int) -> None:
    daemon = make_daemon({"outputs": {"max_files": 5000}}).start()
    job_id = daemon.local.submit(FILES.format(count=count))
    assert daemon.local.wait_finished(job_id, seconds=600)["outcome"] == "succeeded"
    listing = daemon.local.call("GET", f"/v1/jobs/{job_id}/outputs?digest=none").json
    assert len(listing["items"]) == 5000
    assert listing["truncated"]
    assert daemon.local.call("GET", "/healthz").status == 200
    assert daemon.local.call("DELETE", f"/v1/jobs/{job_id}").status == 204
    assert not (daemon.state / "jobs" / job_id).exists()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["no-such-program"], "command_not_found"),
        (["/etc/not-a-program"], "command_not_executable"),
        (["/tmp"], "command_not_executable"),
    ],
)
def test_a_command_that_can_not_be_run_fails_at_once_as_the_users_fault(
    daemon: Daemon, command: list[str], code: str
) -> None:
    body = {**daemon.local.spec(""), "command": command, "retry": {"count": 3, "backoff": 0}}
    job_id = daemon.local.call("POST", "/v1/jobs", body).json["id"]
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"], job["reason"]["blame"]) == ("failed", code, "user")
    assert job["attempt"] == 1
    expect(lambda: not daemon.containers(), "no container is left")


def test_a_program_that_exits_at_once_is_its_own_exit_each_time(daemon: Daemon) -> None:
    ids = [daemon.local.submit(f"exit {code}") for code in range(20)]
    jobs = [daemon.local.wait_finished(job_id) for job_id in ids]
    assert [job["exit"]["code"] for job in jobs] == list(range(20))
    assert [job["outcome"] for job in jobs] == ["succeeded"] + ["failed"] * 19


def test_a_user_who_is_not_in_the_image_is_the_users_fault(daemon: Daemon) -> None:
    job_id = daemon.local.submit("true", user="nobody-here")
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"]) == ("failed", "bad_user")


@pytest.mark.parametrize(
    ("repository", "code"),
    [("missing", "image_not_found"), ("refused", "image_denied"), ("platform", "image_wrong_platform")],
)
def test_an_image_that_can_not_be_had_fails_without_a_retry_and_holds_nothing(
    daemon: Daemon, registry: Registry, repository: str, code: str
) -> None:
    image = f"127.0.0.1:{registry.plain}/{repository}/busybox:1"
    body = {**daemon.local.spec("true"), "image": image, "retry": {"count": 3, "backoff": 0}}
    job_id = daemon.local.call("POST", "/v1/jobs", body).json["id"]
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"], job["attempt"]) == ("failed", code, 1)
    assert job["exit"] is None or job["exit"]["code"] is None
    assert daemon.containers() == []
