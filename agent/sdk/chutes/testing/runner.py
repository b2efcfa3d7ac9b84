"""chutes/testing/runner — LocalRunner: a job of a chute from its payload to its result, with its retries. Leaves the process only for a folder."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from enum import Enum
from types import SimpleNamespace
from typing import Any, Awaitable, Callable, Mapping

from chutes._binding import bind
from chutes._calls import MAX_PAYLOAD_BYTES
from chutes._runtime.endings import failed
from chutes.chute import Chute
from chutes.chute.job import Job
from chutes.errors import PayloadError
from chutes.platform import Child
from chutes.testing.attempts import Ended, Limits, OneAttempt, ended_with
from chutes.testing.cords import NO_BODY, CordAnswer, LocalCords
from chutes.testing.loops import run_to_its_end
from chutes.testing.platform import LocalPlatform, Place, Told
from chutes.testing.results import Attempt, Result, error_shown
from chutes.testing.stopping import Stop

# What heals by itself. The rest would fail in the same way again.
RETRIED_KINDS = frozenset({"raised", "startup", "exit"})
MAX_BACKOFF_SECONDS = 300.0


class Children(Enum):
    """What becomes of the jobs that a job starts."""

    # Remembered in `result.started`, and queued for ever.
    RECORDED = "recorded"
    # Run one after another in the order of their starts: when the job asks for the status of one, else when it has ended.
    RUN = "run"


def tell_nobody(kind: str, facts: Mapping[str, Any]) -> None:
    """For whom the result is enough."""


class LocalRunner:
    """Runs jobs of one chute, one at a time, in this process, and calls its cords.

    Each attempt begins with the chute as it was handed over: what hooks and functions set on it is gone for the next, as it would
    be with the container. What the last attempt left on it can be looked at.

    `timeout` in seconds, instead of each job's own, and of any length. `grace`: the time between the request to stop and giving up. `backoff`:
    seconds before the first retry, doubling. `output_dir`: kept, for the job that `run` names; else a temporary folder that is there as
    long as the result. `ports`: other numbers for `job_ports`, by name, where the job's own are taken on this machine. `tell`: called with
    what happens as it happens, a kind and its facts: attempt, ended, progress, status, child.
    """

    def __init__(  # noqa: PLR0913 — settings by name, each with a default that fits most tests
        self,
        chute: Chute,
        *,
        timeout: float | None = None,
        grace: float = 2.0,
        backoff: float = 0.0,
        output_dir: Any = None,
        ports: Mapping[str, int] | None = None,
        children: Children = Children.RECORDED,
        tell: Told = tell_nobody,
    ) -> None:
        self.chute = chute
        self._timeout = timeout
        self._grace = grace
        self._backoff = backoff
        self._output_dir = None if output_dir is None else str(output_dir)
        self._ports = dict(ports or {})
        self._children = children
        self._tell = tell
        self._stop = Stop()
        self._is_running = False
        self._cords: LocalCords | None = None

    def run(self, name: str, payload: Mapping[str, Any] | None = None) -> Result:
        """Run the job of that registered name to its end. In a coroutine, await `run_async` instead."""
        return run_to_its_end(self.run_async(name, payload))

    async def run_async(self, name: str, payload: Mapping[str, Any] | None = None) -> Result:
        """Raises LookupError where the chute has no such job, ValueError where the payload is none."""
        if self._is_running:
            raise RuntimeError(
                "a runner runs one job at a time: a second one needs a chute and a runner of its own"
            )
        handed = Handed(self.chute)
        body = read_payload(payload)
        place = Place("local", 0, self._output_dir, self._shown_ports(self._job(name)))
        self._is_running = True
        try:
            return await self._run_job(name, body, place, handed)
        finally:
            self._is_running = False
            self._stop.lift()

    async def call_cord(
        self, method: str, path: str, *, json: Any = NO_BODY, query: Mapping[str, Any] | None = None
    ) -> CordAnswer:
        """Call a cord as a request would: its startup hooks run before the first call, and the chute goes on from one to the next.

        `json`: the body, where there is one. `path` is the cord's with its parameters filled in. A job that a cord starts is in
        `started`; with children RUN it runs when a cord asks for its status.
        """
        if self._cords is None:
            place = Place("cords", -1, None, ())
            platform = LocalPlatform(self.chute.jobs, place, self._runs(Handed(self.chute)), self._tell)
            self._cords = LocalCords(self.chute, platform)
        return await self._cords.call(method, path, query or {}, json)

    @property
    def started(self) -> list[Child]:
        """The jobs that cords started: `job_id`, `name`, `payload`, `key`."""
        return [] if self._cords is None else self._cords.platform.children

    async def shut_down(self) -> None:
        """Run the shutdown hooks of the cords that were called, as the end of their host job does."""
        if self._cords is not None:
            await self._cords.shut_down()

    def stop(self) -> None:
        """Ask the job to end, as a cancel does; before `run`: the next one. May be called from anywhere, also by the job's own code."""
        self._stop.ask()

    async def _run_job(self, name: str, payload: dict[str, Any], place: Place, handed: Handed) -> Result:
        job = self._job(name)
        platform = LocalPlatform(self.chute.jobs, place, self._runs(handed), self._tell)
        attempts, last = await self._try(job, payload, platform, handed)
        if not self._stop.is_asked:
            await platform.run_children()
        children = tuple(platform.results.values())
        return Result(
            place.job_id, name, last.outcome, last.value, last.note, last.error, tuple(attempts), children, platform
        )  # fmt: skip

    def _runs(self, handed: Handed) -> Callable[[Child, LocalPlatform], Awaitable[Result]] | None:
        """How a job that another one starts is run; None where it is not."""

        async def run_child(child: Child, parent: LocalPlatform) -> Result:
            here = Handed(self.chute)
            ports = self._shown_ports(self._job(child.name))
            below = Place(child.job_id, parent.depth + 1, None, ports)
            try:
                return await self._run_job(child.name, child.payload, below, handed)
            finally:
                here.put_back()

        return run_child if self._children is Children.RUN else None

    async def _try(
        self, job: Job, payload: dict[str, Any], platform: LocalPlatform, handed: Handed
    ) -> tuple[list[Attempt], Ended]:
        attempts: list[Attempt] = []
        last = Ended("cancelled")
        while True:
            # Asked for in the pause after an attempt, too: there is no further one.
            if self._stop.is_asked:
                return attempts, replace(last, outcome="cancelled")
            number = len(attempts) + 1
            handed.put_back()
            self.chute.attach(platform)
            platform.begin_attempt(number)
            last = await self._attempt(job, payload, platform)
            attempts.append(Attempt(number, last.outcome, last.error, last.seconds))
            if number > job.retry_count or not heals(last):
                return attempts, last
            await self._pause(number)

    async def _attempt(self, job: Job, payload: dict[str, Any], platform: LocalPlatform) -> Ended:
        ended = await self._run_once(job, payload, platform)
        facts = {"job": platform.job_id, "name": job.name, "number": platform.attempt}
        self._tell("ended", {**facts, "outcome": ended.outcome, "error": error_shown(ended.error)})
        return ended

    async def _run_once(self, job: Job, payload: dict[str, Any], platform: LocalPlatform) -> Ended:
        try:
            arguments = bind(job.function, payload, platform.output_dir)
        except PayloadError as error:
            return ended_with(failed("payload", error), error)
        limits = Limits(job.timeout if self._timeout is None else self._timeout, self._grace)
        facts = {"job": platform.job_id, "name": job.name, "number": platform.attempt}
        self._tell("attempt", {**facts, "timeout": limits.timeout, "grace": limits.grace})
        return await OneAttempt(self.chute, job, platform, limits, self._stop).run(arguments)

    async def _pause(self, number: int) -> None:
        seconds = min(self._backoff * 2 ** (number - 1), MAX_BACKOFF_SECONDS)
        with self._stop.watched() as asked:
            await asyncio.wait({asked}, timeout=seconds)

    def _job(self, name: str) -> Job:
        if name not in self.chute.jobs:
            there = ", ".join(sorted(self.chute.jobs)) or "none"
            raise LookupError(f"the chute has no job {name!r}; its jobs are: {there}")
        return self.chute.jobs[name]

    def _shown_ports(self, job: Job) -> tuple[Mapping[str, Any], ...]:
        return tuple(
            {
                "name": port.name, "port": self._ports.get(port.name, port.port), "proto": port.proto,
                "host": "127.0.0.1", "host_port": self._ports.get(port.name, port.port), "external_host": None, "external_port": None, "url": None,
            }
            for port in job.ports
        )  # fmt: skip


class Handed:
    """What is set on a chute at one time, to be put back later."""

    def __init__(self, chute: Chute) -> None:
        self._chute = chute
        self._kept = dict(vars(chute))
        state = self._kept.get("state")
        # The one thing on a chute that is there to be written into.
        self._state = dict(vars(state)) if isinstance(state, SimpleNamespace) else None

    def put_back(self) -> None:
        vars(self._chute).clear()
        vars(self._chute).update(self._kept)
        if self._state is not None:
            self._chute.state = SimpleNamespace(**self._state)


def read_payload(payload: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of it by way of JSON, which is how it would reach the job."""
    if not isinstance(payload, (Mapping, type(None))):
        raise ValueError(f"a payload is a JSON object, and this is a {type(payload).__name__}")  # noqa: TRY004 — as below
    try:
        text = json.dumps(dict(payload or {}), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as no_json:
        raise ValueError(f"a payload is a JSON object, and this is none: {no_json}") from no_json
    if len(text) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"the payload has {len(text)} bytes, and {MAX_PAYLOAD_BYTES} are the most")
    read: dict[str, Any] = json.loads(text)
    return read


def heals(ended: Ended) -> bool:
    # Beside what still runs there is no next attempt: on a host it would have been killed by now.
    if not ended.is_over or ended.outcome == "cancelled":
        return False
    return ended.outcome == "timed_out" or (ended.error is not None and ended.error.kind in RETRIED_KINDS)
