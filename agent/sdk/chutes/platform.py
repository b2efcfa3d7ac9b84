"""chutes/platform — what a chute offers in a job beyond what its author put there, and a stand-in for it in memory.

The launcher's platform talks to the host; it is in `_runtime`. Here nothing leaves the process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Mapping, NamedTuple, NoReturn, Sequence

from chutes._calls import Progress, check_call, check_metric, check_progress, check_status
from chutes._done import Done
from chutes.errors import PlatformError

# What `self.NAME` reaches in a job; the chute looks here, and only then among its decorated functions.
MEMBERS = frozenset(
    {
        "attempt",
        "cancel_job",
        "current_job_id",
        "get_job_status",
        "job_ports",
        "logger",
        "output_dir",
        "record_metric",
        "should_shutdown",
        "start_job",
        "update_job_progress",
        "update_job_status",
    }
)


class Platform(ABC):
    """The members of `self` in a job. What a call is given is checked here; where it goes, a subclass says."""

    @property
    @abstractmethod
    def logger(self) -> Any:
        """A logging.Logger whose lines are the job's log."""

    @property
    @abstractmethod
    def current_job_id(self) -> str: ...

    @property
    @abstractmethod
    def attempt(self) -> int:
        """1 for the first run, one more for each retry."""

    @property
    @abstractmethod
    def output_dir(self) -> str:
        """Where files are kept from attempt to attempt; it is always there."""

    @property
    @abstractmethod
    def job_ports(self) -> Sequence[Mapping[str, Any]]:
        """Each port, and where on the outside it can be reached."""

    @property
    @abstractmethod
    def should_shutdown(self) -> bool:
        """True from the moment that somebody or something wants the job to stop."""

    async def start_job(self, name: str, payload: Any = None, key: str | None = None) -> str:
        """Start another job of this chute; its id. The same call in a retry gives the job that is there already."""
        check_call(name, payload, key)
        return await self._start(name, payload, key)

    @abstractmethod
    async def get_job_status(self, job_id: str) -> dict[str, Any] | None:
        """A job of this chute as the API shows it, or None where there is no such job."""

    @abstractmethod
    async def cancel_job(self, job_id: str) -> bool:
        """Ask a job of this chute to stop. False where there is none of that id, or it is over."""

    def update_job_progress(
        self, *, progress: float, job_id: str | None = None, message: str | None = None
    ) -> Done:
        """Show how far this job is, in percent. Done by the call; awaiting it lets others run."""
        self._keep_progress(check_progress(self.current_job_id, job_id, progress, message))
        return Done()

    def record_metric(self, name: str, value: Any) -> Done:
        """A number is a point of a series, a text is counted. Done by the call, as above."""
        self._keep_metric(*check_metric(name, value))
        return Done()

    def update_job_status(self, task: Any, status: Any) -> Done:
        """Show the status of one part of the work. Done by the call, as above."""
        self._keep_status(*check_status(task, status))
        return Done()

    @abstractmethod
    async def _start(self, name: str, payload: Any, key: str | None) -> str: ...

    @abstractmethod
    def _keep_progress(self, progress: Progress) -> None: ...

    @abstractmethod
    def _keep_metric(self, name: str, value: float | str) -> None: ...

    @abstractmethod
    def _keep_status(self, task: str, status: str) -> None: ...


class Child(NamedTuple):
    """A job that was started by `start_job`."""

    job_id: str
    name: str
    payload: Any
    key: str | None


class Recorder(Platform):
    """Keeps everything in lists, for tests: what a chute has that was never attached to a host."""

    def __init__(self, known: Mapping[str, Any] | None = None, job_id: str = "local") -> None:
        """`known`: the names that `start_job` accepts; None is any."""
        self.known = known
        self.job_id = job_id
        self.attempt_number = 1
        self.ports: list[Mapping[str, Any]] = []
        self.stopping = False
        self.progress: list[Progress] = []
        self.metrics: list[tuple[str, float | str]] = []
        self.statuses: dict[str, str] = {}
        self.children: list[Child] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self._folder: str | None = None

    @property
    def logger(self) -> Any:
        import logging  # noqa: PLC0415 — a job on a host has another logger, and starts the sooner without

        return logging.getLogger("chutes.job")

    @property
    def current_job_id(self) -> str:
        return self.job_id

    @property
    def attempt(self) -> int:
        return self.attempt_number

    @property
    def output_dir(self) -> str:
        if self._folder is None:
            self._folder = make_folder(self)
        return self._folder

    @property
    def job_ports(self) -> Sequence[Mapping[str, Any]]:
        return self.ports

    @property
    def should_shutdown(self) -> bool:
        return self.stopping

    async def get_job_status(self, job_id: str) -> dict[str, Any] | None:
        return self.jobs.get(job_id)

    async def cancel_job(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        if job is None or job["phase"] == "finished":
            return False
        job.update(phase="finished", outcome="cancelled")
        return True

    async def _start(self, name: str, payload: Any, key: str | None) -> str:
        if self.known is not None and name not in self.known:
            there = ", ".join(sorted(self.known)) or "none"
            raise PlatformError("unknown_function", f"the chute has no job {name!r}; its jobs are: {there}")
        for child in self.children:
            if key is not None and (child.name, child.key) == (name, key):
                return child.job_id
        job_id = f"{self.job_id}.{len(self.children) + 1}"
        self.children.append(Child(job_id, name, payload, key))
        self.jobs[job_id] = {"id": job_id, "name": name, "phase": "queued", "outcome": None, "result": None}
        return job_id

    def _keep_progress(self, progress: Progress) -> None:
        self.progress.append(progress)

    def _keep_metric(self, name: str, value: float | str) -> None:
        self.metrics.append((name, value))

    def _keep_status(self, task: str, status: str) -> None:
        self.statuses[task] = status


def refuse_pickle() -> NoReturn:
    """A pickle of a chute has its platform in it, and would fail on something within that no author knows."""
    raise TypeError(
        "the chute can't go to another process: hand over a function of the module, and the values that it needs"
    )


def make_folder(owner: object) -> str:
    """A temporary folder that goes with its owner."""
    import shutil  # noqa: PLC0415 — as with logging above
    import tempfile  # noqa: PLC0415
    import weakref  # noqa: PLC0415

    folder = tempfile.mkdtemp(prefix="chutes-outputs-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder
