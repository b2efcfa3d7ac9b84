"""chutes/testing/platform — the platform of one job that runs locally: a Recorder that knows its children again. Runs none of them itself."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Awaitable, Callable, Mapping, Sequence

from chutes._calls import Progress
from chutes.errors import PlatformError
from chutes.platform import Child, Recorder, refuse_pickle
from chutes.testing.results import Result

# What is told as it happens: attempt, progress, status or child, and its facts.
Told = Callable[[str, Mapping[str, Any]], None]

# As a host has them unless its config says otherwise.
MAX_CHILDREN = 100
MAX_DEPTH = 5


@dataclass(frozen=True)
class Place:
    """Which job it is. `output_dir` None: a temporary folder, which goes with the platform."""

    job_id: str
    depth: int
    output_dir: str | None
    ports: tuple[Mapping[str, Any], ...]


class LocalPlatform(Recorder):
    """One for all attempts of a job. `run_child` None: what is started is remembered, and stays queued."""

    def __init__(
        self,
        known: Mapping[str, Any],
        place: Place,
        run_child: Callable[[Child, LocalPlatform], Awaitable[Result]] | None,
        tell: Told,
    ) -> None:
        super().__init__(known, place.job_id)
        self.ports = list(place.ports)
        self.depth = place.depth
        self.results: dict[str, Result] = {}
        self._given = place.output_dir
        self._run_child = run_child
        self._tell = tell
        self._by_call: dict[str, str] = {}
        self._calls: list[str] = []
        self._turn: asyncio.Lock | None = None

    @property
    def output_dir(self) -> str:
        return super().output_dir if self._given is None else self._given

    @property
    def job_ports(self) -> Sequence[Mapping[str, Any]]:
        return self.ports

    def __reduce__(self) -> Any:
        refuse_pickle()

    def begin_attempt(self, number: int) -> None:
        self.attempt_number = number
        self.stopping = False
        # Calls are counted anew, so that a retry that starts the same jobs is given those that are there.
        self._calls.clear()

    def _keep_progress(self, progress: Progress) -> None:
        super()._keep_progress(progress)
        self._tell("progress", {"job": self.job_id, **progress._asdict()})

    def _keep_status(self, task: str, status: str) -> None:
        super()._keep_status(task, status)
        self._tell("status", {"job": self.job_id, "task": task, "status": status})

    async def get_job_status(self, job_id: str) -> dict[str, Any] | None:
        if job_id in self.jobs:
            await self.run_children(job_id)
        return await super().get_job_status(job_id)

    async def run_children(self, last: str | None = None) -> None:
        """Run what waits, in the order of the starts, up to the one of that id."""
        if self._run_child is None:
            return
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            # More may come while these run.
            for child in self.children:
                if self.jobs[child.job_id]["phase"] == "queued":
                    self._note(await self._run_child(child, self))
                if child.job_id == last:
                    return

    def _note(self, result: Result) -> None:
        self.results[result.job_id] = result
        self.jobs[result.job_id].update(shown(result))

    async def _start(self, name: str, payload: Any, key: str | None) -> str:
        # A copy: what the job does with its payload later is not the child's.
        kept = json.loads(json.dumps(payload))
        call = json.dumps([name, "key", key] if key is not None else [name, kept], sort_keys=True)
        same = call if key is not None else f"{call} {self._calls.count(call)}"
        if same not in self._by_call:
            self._refuse_what_no_host_would_start()
            job_id = await super()._start(name, kept, key)
            self.jobs[job_id].update(error=None, attempt=1, progress=None, statuses={}, parent=self.job_id)
            self._by_call[same] = job_id
            self._tell("child", {"job": self.job_id, "child": job_id, "name": name})
        self._calls.append(call)
        return self._by_call[same]

    def _refuse_what_no_host_would_start(self) -> None:
        if len(self.children) >= MAX_CHILDREN:
            raise PlatformError("too_many_children", f"a job may start {MAX_CHILDREN} others at most")
        if self.depth >= MAX_DEPTH:
            raise PlatformError("too_deep", f"jobs may start jobs {MAX_DEPTH} deep at most")


def shown(result: Result) -> dict[str, Any]:
    """What a status says of a job that has ended, by the names that the API has for it."""
    error, progress = result.error, result.progress[-1] if result.progress else None
    return {
        "phase": "finished",
        "outcome": result.outcome,
        "result": result.value,
        "error": None
        if error is None
        else {"type": error.type, "message": error.message, "traceback": error.traceback},
        "attempt": len(result.attempts),
        "progress": None if progress is None else {"percent": progress.percent, "message": progress.message},
        "statuses": dict(result.statuses),
    }
