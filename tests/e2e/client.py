"""client — the agent's API as a script would call it: plain HTTP, JSON and deadlines. Knows nothing of the agent's code."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.private_engine_host import wait

Json = dict[str, Any]
FINISH_SECONDS = 90.0


class LateError(AssertionError):
    """Something that had to happen did not, within its deadline."""


def expect(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until it holds; an API that is away meanwhile does not count against it."""

    def holds() -> bool:
        try:
            return bool(condition())
        except (OSError, http.client.HTTPException):
            return False

    if not wait(holds, seconds):
        raise LateError(f"not within {seconds:.0f} s: {what}")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


class Client:
    """One caller. `connect` makes a connection; each call has its own, so that a daemon's restart breaks no later one."""

    def __init__(
        self, connect: Callable[[], http.client.HTTPConnection], image: str, token: str | None = None
    ) -> None:
        self._connect = connect
        self._image = image
        self._token = token

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Raises OSError or HTTPException where the daemon is away."""
        connection = self._connect()
        try:
            self._send(connection, method, path, body, headers or {})
            reply = connection.getresponse()
            return Reply(
                reply.status, {name.lower(): text for name, text in reply.getheaders()}, reply.read()
            )
        finally:
            connection.close()

    def post(self, path: str, payload: bytes, media: str) -> Reply:
        """A body of another kind than JSON."""
        connection = self._connect()
        headers = {"Content-Type": media}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request("POST", path, payload, headers)
            reply = connection.getresponse()
            return Reply(
                reply.status, {name.lower(): text for name, text in reply.getheaders()}, reply.read()
            )
        finally:
            connection.close()

    def lines(self, path: str, headers: dict[str, str] | None = None) -> Iterator[bytes]:
        """A stream, line by line, until it ends or nobody reads it any more."""
        connection = self._connect()
        try:
            self._send(connection, "GET", path, None, headers or {})
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            yield from reply
        finally:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: object,
        headers: dict[str, str],
    ) -> None:
        all_headers = {**headers}
        if self._token is not None:
            all_headers["Authorization"] = f"Bearer {self._token}"
        payload = None if body is None else json.dumps(body).encode()
        if payload is not None:
            all_headers["Content-Type"] = "application/json"
        connection.request(method, path, payload, all_headers)

    def spec(self, script: str, **fields: object) -> Json:
        """A job that runs a shell script in the test's image."""
        return {"image": self._image, "command": ["sh", "-c", script], "network": "none", **fields}

    def submit(self, script: str, **fields: object) -> str:
        """Returns the job's id."""
        reply = self.call("POST", "/v1/jobs", self.spec(script, **fields))
        assert reply.status == 201, reply.body
        return str(reply.json["id"])

    def job(self, job_id: str) -> Json:
        reply = self.call("GET", f"/v1/jobs/{job_id}")
        assert reply.status == 200, reply.body
        found: Json = reply.json
        return found

    def jobs(self) -> list[Json]:
        """All, newest first."""
        items: list[Json] = []
        cursor = ""
        while True:
            reply = self.call("GET", f"/v1/jobs?limit=200{cursor}")
            assert reply.status == 200, reply.body
            items += reply.json["items"]
            if reply.json["next"] is None:
                return items
            cursor = f"&cursor={reply.json['next']}"

    def cancel(self, job_id: str, grace: int | None = None) -> Reply:
        query = "" if grace is None else f"?grace={grace}"
        return self.call("POST", f"/v1/jobs/{job_id}/cancel{query}")

    def wait_phase(self, job_id: str, *phases: str, seconds: float = FINISH_SECONDS) -> Json:
        expect(lambda: self.job(job_id)["phase"] in phases, f"{job_id} is {' or '.join(phases)}", seconds)
        return self.job(job_id)

    def wait_finished(self, job_id: str, seconds: float = FINISH_SECONDS) -> Json:
        """Across restarts of the daemon too. The job, finished; who waits too long is told how far it came."""
        deadline = time.monotonic() + seconds
        try:
            expect(lambda: self._is_finished(job_id, deadline), f"{job_id} is finished", seconds)
        except LateError as late:
            raise LateError(f"{late}; it is {self.job(job_id)}") from None
        return self.job(job_id)

    def _is_finished(self, job_id: str, deadline: float) -> bool:
        left = max(1, min(5, int(deadline - time.monotonic())))
        reply = self.call("GET", f"/v1/jobs/{job_id}?wait=finished&timeout={left}")
        return reply.status == 200 and reply.json["phase"] == "finished"

    def log(self, job_id: str, query: str = "") -> str:
        return self.raw_log(job_id, query).decode(errors="replace")

    def raw_log(self, job_id: str, query: str = "") -> bytes:
        reply = self.call("GET", f"/v1/jobs/{job_id}/logs{query}")
        assert reply.status == 200, reply.body
        return reply.body

    def checks(self) -> dict[str, Json]:
        reply = self.call("GET", "/health")
        assert reply.status == 200, reply.body
        return {check["name"]: check for check in reply.json["checks"]}
