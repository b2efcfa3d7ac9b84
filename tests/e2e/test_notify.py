"""Notifications of the whole daemon: killed between an endpoint's answer and its own note of it, it tells everything again and in order."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
PATH = ["queued", "starting", "running", "stopping", "uploading", "finished"]
LISTED = {"uploads": {"allow_http": True, "allow_hosts": ["127.0.0.1"]}}
JOBS = 4


@dataclass
class Receiver:
    """A control plane: it checks each signature by the standard's words, with none of the agent's code."""

    port: int = 0
    status: int = 204
    events: list[dict[str, Any]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def take(self, headers: dict[str, str], body: bytes) -> None:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        if headers["webhook-signature"] != f"v1,{wanted}":
            self.bad.append(headers["webhook-signature"])
        self.events.append({**json.loads(body), "id": headers["webhook-id"]})

    def of(self, job_id: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["job"] == job_id]


@contextmanager
def receiving(daemon: Daemon) -> Iterator[Receiver]:
    """On a loopback port of the network that the daemon is in."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take({name.lower(): text for name, text in self.headers.items()}, body)
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's name
            """Nothing: pytest shows what matters."""

    listener = daemon.net.listen(0)
    receiver.port = listener.getsockname()[1]
    server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(receiver: Receiver) -> dict[str, str]:
    return {"url": f"http://127.0.0.1:{receiver.port}/hooks?key=hush-query", "secret": SECRET}


def is_over(daemon: Daemon, job_id: str) -> bool:
    return daemon.local.job(job_id)["notify"]["state"] != "open"


def delivered(n: int) -> Callable[[dict[str, Any]], bool]:
    """The endpoint has answered, and nothing of it is on disk yet."""
    return lambda line: line.get("event") == "notify.delivered" and line.get("n") == n


def test_killed_in_mid_delivery_it_tells_everything_at_least_once_and_in_order(make_daemon: Make) -> None:
    daemon = make_daemon(LISTED)
    with receiving(daemon) as receiver:
        daemon.start()
        jobs = [daemon.local.submit("sleep 1", notify=asked(receiver)) for _ in range(JOBS)]
        daemon.kill()
        for n in (1, 3, 5, 6):
            daemon.launch(kill_at=delivered(n))
            assert daemon.wait_killed(), daemon.tail()
        daemon.start()
        for job_id in jobs:
            expect(lambda job_id=job_id: is_over(daemon, job_id), "all of it is told")
        for job_id in jobs:
            events = receiver.of(job_id)
            assert [event["n"] for event in events] == sorted(event["n"] for event in events)
            assert [event["data"]["to"] for event in {event["n"]: event for event in events}.values()] == PATH
            assert len({event["id"] for event in events}) == len(PATH)
        # Each kill came behind an answer of which it kept nothing.
        assert len(receiver.events) >= JOBS * len(PATH) + 4
        assert receiver.bad == []
        assert daemon.local.job(jobs[0])["notify"] == {
            "state": "complete",
            "delivered": len(PATH),
            "dropped": 0,
            "pending": 0,
            "last_error": None,
        }


def test_an_endpoint_that_is_down_gets_it_all_once_it_is_up_and_no_secret_is_left_or_shown(
    make_daemon: Make,
) -> None:
    daemon = make_daemon(LISTED)
    with receiving(daemon) as receiver:
        receiver.status = 503
        daemon.start()
        job_id = daemon.local.submit("true", notify=asked(receiver))
        daemon.local.wait_finished(job_id)
        shown = daemon.local.job(job_id)["notify"]
        assert (shown["state"], shown["delivered"], shown["last_error"]["status"]) == ("open", 0, 503)
        assert files_with_secrets(daemon) == ["notify.json"]
        daemon.kill()
        receiver.status = 204
        daemon.start()
        expect(lambda: is_over(daemon, job_id), "all of it is told")
        first = [event["n"] for event in receiver.of(job_id)].index(2) - 1
        assert [event["data"]["to"] for event in receiver.of(job_id)[first:]] == PATH
    assert files_with_secrets(daemon) == []


def files_with_secrets(daemon: Daemon) -> list[str]:
    """Of all that the daemon wrote: its log, its database and the jobs' folders."""
    files = [file for file in Path(daemon.folder).rglob("*") if file.is_file()]
    words = (b"hush-query", SECRET.encode(), base64.b64encode(KEY))
    return sorted(file.name for file in files if any(word in file.read_bytes() for word in words))


def test_what_the_operator_did_not_list_is_not_reached_by_any_name(make_daemon: Make) -> None:
    daemon = make_daemon({"uploads": {"allow_http": True}})
    with receiving(daemon) as receiver:
        daemon.start()
        spec = daemon.local.spec("true", notify=asked(receiver))
        reply = daemon.local.call("POST", "/v1/jobs", spec)
        assert (reply.status, reply.json["faults"][0]["code"]) == (422, "address_refused")
        url = f"http://localhost:{receiver.port}/"
        job_id = daemon.local.submit("true", notify={"url": url, "secret": SECRET})
        daemon.local.wait_finished(job_id)
        expect(lambda: daemon.local.job(job_id)["notify"]["last_error"], "it was tried")
        error = daemon.local.job(job_id)["notify"]["last_error"]
        assert (error["code"], "127.0.0.1" in json.dumps(error)) == ("address_refused", False)
        assert receiver.events == []
