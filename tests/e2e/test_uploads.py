"""Outputs of the whole daemon on their way to an endpoint: exactly what the job left arrives, whatever the job, the endpoint or the engine do."""

import hashlib
import json
import os
import stat
import uuid
from pathlib import Path
from typing import Any

from agent.adapters.folders.names import to_bytes
from tests.e2e.client import Client, Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.sink import MANIFEST, SECRET, UPLOADS, Act, Sink, sinking
from tests.private_engine import PrivateEngine

SETTINGS = {"uploads": UPLOADS}
LONG = "n" * 200
HOSTILE = rf"""
cd /outputs
printf one > 'a space and ?#&+.txt'; printf two > "$(printf 'a\nline')"; printf three > "$(printf 'not\377utf8')"
printf four > 'p%41%2e%2f%'; printf five > {LONG}; printf six > ' leading'; printf seven > '"quoted"'; printf eight > 'back\slash'
: > empty.bin; head -c 3000001 /dev/urandom > large.bin; mkdir -p empty deep/er/ünïcode; printf nine > deep/er/ünïcode/日本
printf ten > ..two-dots; printf eleven > deep/manifest.json
ln -s /etc/passwd link; ln -s ../../../../../etc folder-link; ln -s empty.bin inner-link; mkfifo pipe
printf linked > hard-1; ln hard-1 hard-2; chmod 4755 '"quoted"'; chmod 000 ' leading'; touch -d '1970-01-01 00:00:01' ..two-dots
"""


def outputs_of(daemon: Daemon, job_id: str) -> bytes:
    return os.fsencode(daemon.state / "jobs" / job_id / "outputs")


def left_by(root: bytes) -> dict[bytes, bytes]:
    """The regular files with one name, and their content."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - names that are no text
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                with open(path, "rb") as file:  # noqa: PTH123 - likewise
                    found[os.path.relpath(path, root)] = file.read()
    return found


def manifest_of(sink: Sink, job_id: str) -> Json:
    told: Json = json.loads(sink.of(job_id)[MANIFEST].data)
    return told


def upload_of(client: Client, job_id: str) -> Any:  # noqa: ANN401 - JSON
    return client.job(job_id)["upload"]


def wait_over(client: Client, job_id: str, seconds: float = 90.0) -> Any:  # noqa: ANN401 - JSON
    expect(
        lambda: upload_of(client, job_id)["state"] not in {"waiting", "sending"},
        "its upload is over",
        seconds,
    )
    return upload_of(client, job_id)


def files_with_secrets(daemon: Daemon) -> list[str]:
    """Of all that the daemon wrote: its log, its database and the jobs' folders."""
    files = [file for file in Path(daemon.folder).rglob("*") if file.is_file() and not file.is_symlink()]
    return sorted(file.name for file in files if SECRET.encode() in file.read_bytes())


def test_exactly_the_regular_files_that_a_job_left_arrive_bit_for_bit_under_their_names(
    make_daemon: Make,
) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        job_id = daemon.local.submit(f"{HOSTILE}sleep 2", outputs={"upload": sink.upload()})
        root = outputs_of(daemon, job_id)
        expect(lambda: os.path.lexists(root + b"/hard-2"), "the job has written all")
        os.mknod(root + b"/device", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # no job may: one more who could
        job = daemon.local.wait_finished(job_id)
        assert (job["outcome"], job["upload"]["state"], job["upload"]["last_error"]) == (
            "succeeded",
            "complete",
            None,
        )

        files = left_by(root)
        assert len(files) == 13
        received = sink.files(job_id)
        assert {to_bytes(path): one.sha256 for path, one in received.items()} == {
            path: hashlib.sha256(data).hexdigest() for path, data in files.items()
        }
        assert job["upload"]["files_done"] == len(files)
        assert sink.requests[-1].path == MANIFEST
        assert set(sink.tries(job_id).values()) == {1}
        told = manifest_of(sink, job_id)
        assert {entry["path"]: (entry["sha256"], entry["size"]) for entry in told["files"]} == {
            path: (one.sha256, one.size) for path, one in received.items()
        }
        assert {entry["path"]: entry["why"] for entry in told["skipped"]} == {
            "link": "symlink",
            "folder-link": "symlink",
            "inner-link": "symlink",
            "pipe": "fifo",
            "hard-1": "hard_link",
            "hard-2": "hard_link",
            "device": "device",
        }


def test_an_endpoint_that_fails_resets_and_is_slow_has_everything_in_the_end(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    first = {"f1": Act.FAIL, "f2": Act.RESET, "large": Act.RESET, "f3": Act.SLOW}
    with sinking(daemon.net) as sink:
        sink.act = lambda _job, path: first.pop(path, Act.TAKE)
        script = "cd /outputs; for n in 1 2 3 4; do echo $n > f$n; done; head -c 5000000 /dev/urandom > large"
        job_id = daemon.local.submit(script, outputs={"upload": sink.upload()})
        job = daemon.local.wait_finished(job_id)
        assert (job["outcome"], job["upload"]["state"]) == ("succeeded", "complete")
        files = left_by(outputs_of(daemon, job_id))
        assert {to_bytes(path): one.sha256 for path, one in sink.files(job_id).items()} == {
            path: hashlib.sha256(data).hexdigest() for path, data in files.items()
        }
        assert set(sink.taken(job_id).values()) == {1}


def test_uploads_go_on_while_the_engine_is_down(make_daemon: Make, engine: PrivateEngine) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        sink.act = lambda _job, path: Act.HANG if path == "held" else Act.TAKE
        job_id = daemon.local.submit(
            "echo a > /outputs/held; echo b > /outputs/b", outputs={"upload": sink.upload()}
        )
        sink.until(lambda one: one.path == "held", "it is on its way")
        engine.stop()
        sink.free.set()
        job = daemon.local.wait_finished(job_id)
        assert not engine.is_alive()
        assert (job["outcome"], job["upload"]["state"]) == ("succeeded", "complete")
        assert set(sink.of(job_id)) == {"held", "b", MANIFEST}


def test_a_cancel_ends_an_upload_and_leaves_the_outcome_and_no_secret(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        sink.act = lambda _job, path: Act.HANG if path == "held" else Act.TAKE
        job_id = daemon.local.submit(
            "echo a > /outputs/held; echo b > /outputs/b", outputs={"upload": sink.upload()}
        )
        expect(
            lambda: (
                {"held", "b"} <= set(sink.tries(job_id))
                and upload_of(daemon.local, job_id)["files_done"] == 1
            ),
            "one is there",
        )
        assert files_with_secrets(daemon) == ["upload.json"]
        assert daemon.local.cancel(job_id).status == 202
        job = daemon.local.wait_finished(job_id, seconds=10)
        shown = job["upload"]
        assert (job["outcome"], shown["state"], shown["files_done"]) == ("succeeded", "partial", 1)
        assert shown["last_error"]["code"] == "upload_cancelled"
        assert MANIFEST not in sink.tries(job_id)
        assert files_with_secrets(daemon) == []


def test_a_retry_sends_what_did_not_leave_to_the_target_that_is_given_with_it(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink, sinking(daemon.net) as other:
        sink.act = lambda _job, path: Act.FORBID if path == "b" else Act.TAKE
        job_id = daemon.local.submit(
            "for n in a b c; do echo $n > /outputs/$n; done; exit 3", outputs={"upload": sink.upload()}
        )
        job = daemon.local.wait_finished(job_id)
        assert (job["outcome"], job["upload"]["state"], job["upload"]["files_failed"]) == (
            "failed",
            "partial",
            1,
        )
        retry = f"/v1/jobs/{job_id}/outputs/retry"
        bare = daemon.local.call("POST", retry)
        assert (bare.status, bare.json["code"]) == (422, "upload_needed")

        sink.act = lambda _job, _path: Act.TAKE
        fresh = sink.upload(headers={"Authorization": f"Bearer {SECRET}-fresh"})
        assert daemon.local.call("POST", retry, {"upload": fresh}).status == 202
        assert wait_over(daemon.local, job_id)["state"] == "complete"
        assert sink.taken(job_id) == {"a": 1, "b": 1, "c": 1, MANIFEST: 1}
        assert sink.of(job_id)["b"].headers["authorization"] == f"Bearer {SECRET}-fresh"

        assert daemon.local.call("POST", retry, {"upload": other.upload()}).status == 202
        assert wait_over(daemon.local, job_id)["state"] == "complete"
        assert other.taken(job_id) == {"a": 1, "b": 1, "c": 1, MANIFEST: 1}
        after = daemon.local.job(job_id)
        assert {**after, "upload": None, "version": None} == {**job, "upload": None, "version": None}
        assert files_with_secrets(daemon) == []


def test_of_a_job_that_is_deleted_while_its_retry_runs_nothing_more_is_sent(make_daemon: Make) -> None:
    """Not even where somebody else gives his own job the same id."""
    daemon = make_daemon(SETTINGS).start()
    alice, bob = (daemon.client(daemon.token(name)) for name in ("alice", "bob"))
    job_id = str(uuid.uuid4())
    with sinking(daemon.net) as sink:
        sink.act = lambda _job, _path: Act.FORBID
        body = alice.spec(
            "echo alice > /outputs/a; head -c 9000000 /dev/zero > /outputs/large",
            outputs={"upload": sink.upload()},
        )
        assert alice.call("PUT", f"/v1/jobs/{job_id}", body).status == 201
        assert alice.wait_finished(job_id)["upload"]["state"] == "failed"
        sink.act = lambda _job, path: Act.SLOW if path == "large" else Act.FAIL
        assert alice.call("POST", f"/v1/jobs/{job_id}/outputs/retry", {"upload": sink.upload()}).status == 202
        sink.until(
            lambda one: one.path == "large" and one.size > 0 and one.status is None, "it is on its way"
        )
        assert alice.call("DELETE", f"/v1/jobs/{job_id}").status == 204
        expect(lambda: not (daemon.state / "jobs" / job_id).exists(), "its folder is gone")
        sink.act = lambda _job, _path: Act.TAKE
        before = len(sink.requests)
        mine = bob.spec("echo bob > /outputs/a; echo bob > /outputs/large")
        assert bob.call("PUT", f"/v1/jobs/{job_id}", mine).status == 201
        assert bob.wait_finished(job_id)["upload"] is None
        assert len(sink.requests) == before
        assert sink.of(job_id) == {}
        assert daemon.said("upload.broke") == []
        assert files_with_secrets(daemon) == []


def test_uploads_of_two_principals_never_cross(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        sent: dict[str, str] = {}
        for n in range(6):
            for name in ("alice", "bob"):
                client = daemon.client(daemon.token(name))
                upload = sink.upload(headers={"Authorization": f"Bearer {SECRET}-{name}"})
                script = f"for n in $(seq 12); do echo {name} $n > /outputs/f$n; done; sleep 0.{n}"
                sent[client.submit(script, outputs={"upload": upload, "logs": True})] = name
        for job_id, name in sent.items():
            client = daemon.client(daemon.token(name))
            assert client.wait_finished(job_id)["upload"]["state"] == "complete"
            other = daemon.client(daemon.token("bob" if name == "alice" else "alice"))
            assert (
                other.call("POST", f"/v1/jobs/{job_id}/outputs/retry", {"upload": sink.upload()}).status
                == 404
            )
        for job_id, name in sent.items():
            received = sink.files(job_id)
            assert len(received) == 13
            for n in range(1, 13):
                assert received[f"f{n}"].data == f"{name} {n}\n".encode()
        for one in sink.requests:
            assert one.headers["authorization"] == f"Bearer {SECRET}-{sent[one.job]}"
        assert files_with_secrets(daemon) == []


def test_nothing_secret_is_in_what_the_daemon_keeps_says_or_answers(make_daemon: Make) -> None:
    daemon = make_daemon(SETTINGS).start()
    with sinking(daemon.net) as sink:
        sink.act = lambda _job, _path: Act.FAIL
        job_id = daemon.local.submit("echo a > /outputs/a", outputs={"upload": sink.upload()})
        expect(lambda: upload_of(daemon.local, job_id)["last_error"], "it was tried")
        daemon.kill()
        daemon.start()
        expect(lambda: len(sink.requests) >= 2, "it is tried again")
        assert files_with_secrets(daemon) == ["upload.json"]
        answers = [f"/v1/jobs/{job_id}", "/v1/jobs", f"/v1/jobs/{job_id}/outputs", "/health", "/metrics"]
        for path in answers:
            assert SECRET.encode() not in daemon.local.call("GET", path).body, path
        sink.act = lambda _job, _path: Act.FORBID
        daemon.local.wait_finished(job_id)
        refused = {"to": "put", "url": f"http://192.168.7.7/{{path}}?{SECRET}", "headers": {"Host": SECRET}}
        reply = daemon.local.call("POST", f"/v1/jobs/{job_id}/outputs/retry", {"upload": refused})
        assert reply.status == 422
        assert SECRET.encode() not in reply.body
        assert (
            daemon.local.call("POST", f"/v1/jobs/{job_id}/outputs/retry", {"upload": sink.upload()}).status
            == 202
        )
        wait_over(daemon.local, job_id)
        events = [row["data"] for row in daemon.query("SELECT data FROM events")]
        assert not [data for data in events if SECRET in str(data)]
        assert files_with_secrets(daemon) == []
