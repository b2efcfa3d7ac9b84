"""One job from its submit to its end, over TCP with a token, as a script would do it."""

import io
import tarfile
import uuid
from hashlib import sha256

from tests.e2e.client import expect
from tests.e2e.daemon import Daemon

GREET = "echo hello; echo oops >&2; mkdir -p /outputs/deep; echo result > /outputs/deep/file; exit 3"


def test_a_job_lives_from_submit_to_delete_over_tcp(daemon: Daemon) -> None:
    client = daemon.client(daemon.token())
    reply = client.call("POST", "/v1/jobs", client.spec(GREET, name="greet", labels={"team": "red"}))
    assert reply.status == 201
    job_id = reply.json["id"]
    assert reply.headers["location"] == f"/v1/jobs/{job_id}"

    job = client.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"], job["exit"]["code"]) == ("failed", "exit_nonzero", 3)
    assert (job["owner"], job["name"], job["labels"]) == ("alice", "greet", {"team": "red"})
    assert sorted(client.log(job_id).splitlines()) == ["hello", "oops"]
    assert client.log(job_id, "?stream=stderr") == "oops\n"

    listed = client.call("GET", f"/v1/jobs/{job_id}/outputs").json["items"]
    assert [(item["path"], item["size"], item["sha256"]) for item in listed] == [
        ("deep/file", 7, sha256(b"result\n").hexdigest())
    ]
    assert client.call("GET", f"/v1/jobs/{job_id}/outputs/deep/file").body == b"result\n"
    packed = client.call("GET", f"/v1/jobs/{job_id}/outputs?format=tar").body
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert "deep/file" in tar.getnames()

    assert client.call("DELETE", f"/v1/jobs/{job_id}").status == 204
    assert client.call("GET", f"/v1/jobs/{job_id}").status == 404
    assert not (daemon.state / "jobs" / job_id).exists()
    expect(lambda: not daemon.containers(), "the container is gone")


def test_a_log_is_followed_while_the_job_runs(daemon: Daemon) -> None:
    client = daemon.client(daemon.token())
    job_id = client.submit("echo first; while [ ! -e /outputs/go ]; do sleep 0.1; done; echo last")
    seen = []
    for line in client.lines(f"/v1/jobs/{job_id}/logs?follow=true"):
        seen.append(line)
        if line == b"first\n":
            # It is the job's answer to what was seen that ends the log: so it was seen live.
            (daemon.state / "jobs" / job_id / "outputs" / "go").touch()
    assert seen == [b"first\n", b"last\n"]
    assert client.wait_finished(job_id)["outcome"] == "succeeded"


def test_the_same_key_and_body_give_the_same_job_and_another_body_is_a_conflict(daemon: Daemon) -> None:
    client = daemon.client(daemon.token())
    key = {"Idempotency-Key": "once"}
    first = client.call("POST", "/v1/jobs", client.spec("true"), key)
    again = client.call("POST", "/v1/jobs", client.spec("true"), key)
    other = client.call("POST", "/v1/jobs", client.spec("false"), key)
    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert first.json["id"] == again.json["id"]
    client.wait_finished(first.json["id"])
    assert daemon.count_starts(first.json["id"]) == 1


def test_a_put_under_an_id_of_ones_own_is_idempotent_across_a_restart(daemon: Daemon) -> None:
    client = daemon.client(daemon.token())
    job_id = str(uuid.uuid4())
    assert client.call("PUT", f"/v1/jobs/{job_id}", client.spec("true")).status == 201
    daemon.kill()
    daemon.start()
    assert client.call("PUT", f"/v1/jobs/{job_id}", client.spec("true")).status == 200
    assert client.call("PUT", f"/v1/jobs/{job_id}", client.spec("false")).status == 409
    assert client.wait_finished(job_id)["outcome"] == "succeeded"
    assert daemon.count_starts(job_id) == 1


def test_a_cancelled_job_gets_its_stop_signal_and_a_second_cancel_is_told_that_it_ended(
    daemon: Daemon,
) -> None:
    client = daemon.client(daemon.token())
    job_id = client.submit("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    expect(lambda: "up" in client.log(job_id), "the job is up")
    assert client.cancel(job_id).status == 202
    job = client.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"]) == ("cancelled", "cancelled")
    assert client.log(job_id) == "up\nbye\n"
    assert client.cancel(job_id).status == 409


def test_secrets_reach_the_job_and_nothing_else(daemon: Daemon) -> None:
    client = daemon.client(daemon.token())
    secret = "s3cr3t-" + uuid.uuid4().hex
    job_id = client.submit(
        'cat /run/secrets/KEY | sha256sum; printf "$KEY" | sha256sum',
        secrets={"KEY": secret},
        secrets_env=["KEY"],
    )
    job = client.wait_finished(job_id)
    assert client.log(job_id).split() == [sha256(secret.encode()).hexdigest(), "-"] * 2
    assert secret not in str(job)
    daemon.stop()
    kept = [path for path in daemon.folder.rglob("*") if path.is_file()]
    assert daemon.database in kept
    assert not [path for path in kept if secret.encode() in path.read_bytes()]


def test_sigterm_leaves_the_jobs_running_and_the_next_daemon_adopts_them(daemon: Daemon) -> None:
    client = daemon.client(daemon.token())
    job_id = client.submit("echo up; while [ ! -e /outputs/go ]; do sleep 0.1; done; exit 5")
    expect(lambda: "up" in client.log(job_id), "the job is up")
    assert daemon.stop() == 0
    assert [container["State"] for container in daemon.containers(job_id)] == ["running"]
    daemon.start()
    (daemon.state / "jobs" / job_id / "outputs" / "go").touch()
    assert client.wait_finished(job_id)["exit"]["code"] == 5
    assert daemon.count_starts(job_id) == 1
