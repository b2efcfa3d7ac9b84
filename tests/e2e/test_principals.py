"""What is another principal's does not exist: on every endpoint that openapi.json names, and through every side door."""

import json
import ssl
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.e2e.client import Client, Json, Reply
from tests.e2e.conftest import Make
from tests.e2e.daemon import ALL_SCOPES, OWN_JOBS, Daemon

# In everything that is Bob's, and nowhere else.
MARK = "bobs-own-words"
OPEN = {"/healthz", "/readyz", "/", "/dashboard/{file}"}
SIGN_IN = ("POST", "/v1/session")
THINGS = {"chutes": "chute", "schedules": "schedule"}


@pytest.fixture
def bobs_job(daemon: Daemon) -> str:
    bob = daemon.client(daemon.token("bob"))
    key = {"Idempotency-Key": "shared-key"}
    body = bob.spec(
        f"echo {MARK}; echo {MARK} > /outputs/{MARK}",
        name=MARK,
        labels={"team": MARK},
        queue=MARK,
        env={"X": MARK},
    )
    reply = bob.call("POST", "/v1/jobs", body, key)
    assert reply.status == 201, reply.body
    bob.wait_finished(reply.json["id"])
    return str(reply.json["id"])


@pytest.fixture
def alice(daemon: Daemon) -> Client:
    return daemon.client(daemon.token("alice", [*OWN_JOBS, "exec"]))


def endpoints(client: Client) -> list[tuple[str, str]]:
    paths: Json = client.call("GET", "/openapi.json").json["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def filled(path: str, job_id: str) -> str:
    return path.format(id=job_id, path=MARK, uuid="GPU-none", name="web", function="train", file="app.js")


def bare(path: str) -> str:
    return path.removeprefix("/v1")


def test_every_path_of_anothers_job_is_a_404_and_says_nothing_of_it(
    daemon: Daemon, bobs_job: str, alice: Client
) -> None:
    tried = 0
    for method, path in endpoints(alice):
        if "{id}" in path:
            tried += 1
            body = {"PUT": alice.spec("true"), "POST": {}}.get(method)
            reply = alice.call(method, filled(path, bobs_job), body)
            thing = THINGS.get(bare(path).split("/")[1], "job")
            assert (reply.status, reply.json["code"]) == (404, f"{thing}_not_found"), (method, path)
            if method != "PUT":
                never = str(uuid.uuid4())
                other = alice.call(method, filled(path, never), body)
                # Word for word as of one that never was.
                assert reply.body.replace(bobs_job.encode(), b"") == other.body.replace(never.encode(), b"")
    assert tried >= 7
    assert daemon.client(daemon.token("bob")).job(bobs_job)["outcome"] == "succeeded"


def test_anothers_schedule_is_a_404_and_in_no_list(daemon: Daemon, alice: Client) -> None:
    bob = daemon.client(daemon.token("bob"))
    body = {"name": MARK, "cron": "@yearly", "spec": bob.spec("true", name=MARK)}
    reply = bob.call("POST", "/v1/schedules", body)
    assert reply.status == 201, reply.body
    for method, path in endpoints(alice):
        if bare(path).startswith("/schedules/{id}"):
            asked = alice.call(method, path.format(id=reply.json["id"]), {} if method == "POST" else None)
            assert (asked.status, asked.json["code"]) == (404, "schedule_not_found"), (method, path)
            assert MARK.encode() not in asked.body
    assert alice.call("GET", f"/v1/schedules?name={MARK}").json == {"items": [], "next": None}
    assert alice.call("GET", "/v1/schedules").json == {"items": [], "next": None}
    assert alice.call("GET", f"/v1/jobs?schedule={reply.json['id']}").json == {"items": [], "next": None}
    assert bob.call("GET", f"/v1/schedules/{reply.json['id']}").json["name"] == MARK


def test_no_other_path_shows_anything_of_anothers_job(daemon: Daemon, bobs_job: str, alice: Client) -> None:
    for method, path in endpoints(alice):
        if "{id}" not in path and method == "GET" and bare(path) != "/events":
            reply = alice.call(method, filled(path, bobs_job))
            assert reply.status == (404 if "{" in path and bare(path) not in OPEN else 200), path
            # The queue's name is the host's: whose jobs are in it is not told.
            assert bobs_job.encode() not in reply.body, path
            assert MARK.encode() not in reply.body.replace(b"/host", b""), path
    for query in (
        f"?id={bobs_job[:8]}",
        f"?id={bobs_job}",
        f"?label=team%3D{MARK}",
        f"?queue={MARK}",
        "?phase=finished",
    ):
        assert alice.call("GET", f"/v1/jobs{query}").json == {"items": [], "next": None}, query


def test_events_of_anothers_job_do_not_come(daemon: Daemon, bobs_job: str, alice: Client) -> None:
    assert alice.call("GET", f"/v1/events?job={bobs_job}").status == 404
    mine = alice.submit("true")
    alice.wait_finished(mine)
    for query, headers in (("?after=0", {}), ("", {"Last-Event-ID": "0"})):
        seen = []
        for line in alice.lines(f"/v1/events{query}", headers):
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:]))
                if seen[-1]["data"].get("to") == "finished":
                    break
        assert {event["job"] for event in seen} == {mine}
        assert MARK not in json.dumps(seen)


def test_keys_ids_and_cursors_of_another_lead_nowhere(daemon: Daemon, bobs_job: str, alice: Client) -> None:
    reply = alice.call("POST", "/v1/jobs", alice.spec("echo mine"), {"Idempotency-Key": "shared-key"})
    assert reply.status == 201
    assert reply.json["id"] != bobs_job
    bob = daemon.client(daemon.token("bob"))
    bob.submit("true")
    cursor = bob.call("GET", "/v1/jobs?limit=1").json["next"]
    for page in (f"/v1/jobs?cursor={cursor}", "/v1/jobs"):
        assert {job["owner"] for job in alice.call("GET", page).json["items"]} <= {"alice"}
    log = bob.call("GET", f"/v1/jobs/{bobs_job}/logs?format=ndjson").body.splitlines()
    log_cursor = json.loads(log[0])["cursor"]
    assert alice.call("GET", f"/v1/jobs/{bobs_job}/logs?cursor={log_cursor}").status == 404
    assert MARK not in alice.log(alice.wait_finished(reply.json["id"])["id"])


def test_the_scope_for_all_jobs_lifts_the_filter_and_gives_no_right_to_write(
    daemon: Daemon, bobs_job: str
) -> None:
    auditor = daemon.client(daemon.token("auditor", ["jobs:read", "jobs:all"]))
    assert auditor.job(bobs_job)["owner"] == "bob"
    assert auditor.call("DELETE", f"/v1/jobs/{bobs_job}").status == 403


def test_without_a_token_everything_but_liveness_is_a_401(
    daemon: Daemon, bobs_job: str, alice: Client
) -> None:
    nobody = daemon.client(None)

    def ask(endpoint: tuple[str, str]) -> Reply:
        method, path = endpoint
        return nobody.call(
            method, filled(path, bobs_job), nobody.spec("true") if method in {"POST", "PUT"} else None
        )

    every = endpoints(alice)
    # At once, since each failure of a peer waits longer for its answer than the one before.
    with ThreadPoolExecutor(len(every)) as pool:
        replies = list(pool.map(ask, every))
    for (method, path), reply in zip(every, replies, strict=True):
        if bare(path) in OPEN:
            assert reply.status == 200, path
        elif (method, path) == SIGN_IN:
            assert (reply.status, reply.json["code"]) == (403, "cookie_refused")
        else:
            assert reply.status == 401, (method, path)
            assert reply.headers["www-authenticate"].startswith("Bearer")
        assert MARK.encode() not in reply.body


def test_a_token_that_is_wrong_expired_or_too_weak_is_refused(daemon: Daemon, alice: Client) -> None:
    expired = daemon.client(daemon.token("alice", expires=-1.0)).call("GET", "/v1/jobs")
    assert (expired.status, expired.json["code"]) == (401, "token_expired")
    wrong = daemon.client(daemon.token("alice")[:-1] + "x").call("GET", "/v1/jobs")
    assert (wrong.status, wrong.json["code"]) == (401, "unauthorized")
    reader = daemon.client(daemon.token("alice", ["jobs:read"]))
    writer = daemon.client(daemon.token("alice", ["jobs:write"]))
    for reply in (
        reader.call("POST", "/v1/jobs", reader.spec("true")),
        reader.call("DELETE", f"/v1/jobs/{alice.submit('true')}"),
        writer.call("GET", "/v1/jobs"),
        writer.call("GET", "/v1/events"),
        alice.call("POST", "/v1/images/pull", {"image": "alpine:3.20"}),
    ):
        assert (reply.status, reply.json["code"]) == (403, "scope_missing")


def test_no_token_is_in_the_log_or_the_database(daemon: Daemon) -> None:
    token = daemon.token("alice", ALL_SCOPES)
    daemon.client(token).submit("true")
    daemon.client(token[:-1] + "x").call("GET", "/v1/jobs")
    daemon.stop()
    for path in (daemon.folder / "agent.log", *daemon.state.glob("agent.db*")):
        assert token[:-1].encode() not in path.read_bytes(), path


def test_plaintext_off_loopback_is_refused_at_the_start(make_daemon: Make) -> None:
    daemon = make_daemon({"api": {"listen": "0.0.0.0:20999"}})
    daemon.launch()
    told = daemon.leave_failed()
    assert "insecure_plaintext" in told
    assert not daemon.socket.exists()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate of it, and a client's of another authority."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for authority in ("ca", "other"):
        openssl(
            "req",
            "-x509",
            *key,
            "-subj",
            f"/CN={authority}",
            "-keyout",
            f"{authority}.key",
            "-out",
            f"{authority}.crt",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",  # Python 3.13 insists on it (RFC 5280, 4.2.1.3)
        )
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        openssl(
            "req", "-x509", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt",
            "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
            "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
    return folder


def context(certificates: Path, client: str | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=certificates / "ca.crt")
    if client is not None:
        made.load_cert_chain(certificates / f"{client}.crt", certificates / f"{client}.key")
    return made


def test_tls_with_client_certificates_lets_in_who_has_one_and_a_token(
    make_daemon: Make, certificates: Path
) -> None:
    files = {"tls_cert": "server.crt", "tls_key": "server.key", "client_ca": "ca.crt"}
    daemon = make_daemon({"api": {name: str(certificates / file) for name, file in files.items()}}).start()
    token = daemon.token()
    mine = daemon.client(token, context(certificates, "client"))
    assert mine.wait_finished(mine.submit("true"))["outcome"] == "succeeded"
    assert daemon.client(None, context(certificates, "client")).call("GET", "/v1/jobs").status == 401
    for refused in (
        daemon.client(token, context(certificates)),
        daemon.client(token, context(certificates, "stranger")),
        daemon.client(token),  # no TLS at all
        daemon.client(token, ssl.create_default_context()),  # who does not know the authority
    ):
        with pytest.raises((OSError, HTTPException)):
            refused.call("GET", "/v1/jobs")
    assert daemon.local.call("GET", "/healthz").status == 200
