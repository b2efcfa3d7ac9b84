"""chutes/testing/results — what came of a job: values to assert on. Runs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chutes._runtime.endings import Ending
from chutes.platform import Child, Recorder


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed.

    `kind`: raised, permanent, payload, startup, exit, cancelled or result_too_large. `exception` is the object itself, which
    a platform could not give you.
    """

    kind: str
    type: str
    message: str
    traceback: str = field(repr=False)
    # With what the process would have ended: 1, but for sys.exit.
    exit_code: int = 1
    # Of an HTTPException.
    status_code: int | None = None
    detail: str | None = None
    exception: BaseException | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, ending: Ending, error: BaseException | None) -> Failure:
        """As a host is told of it."""
        told = ending.error or {}
        facts = {
            name: told[name] for name in ("kind", "type", "message", "traceback", "status_code", "detail")
        }
        return cls(exit_code=ending.exit_code, exception=error, **facts)


@dataclass(frozen=True)
class Attempt:
    """One run of the function, from the hooks of the startup to those of the shutdown."""

    number: int
    outcome: str
    error: Failure | None
    seconds: float


@dataclass(frozen=True)
class Result:
    """A job that has ended. `outcome` is succeeded, failed, timed_out or cancelled.

    `value` is what was returned as JSON has it: a tuple is a list, and what no JSON can hold is its repr, which `note` says.
    """

    job_id: str
    name: str
    outcome: str
    value: Any
    note: str | None
    error: Failure | None
    attempts: tuple[Attempt, ...]
    # The results of the jobs that it started, where the runner runs them.
    children: tuple[Result, ...] = field(repr=False)
    platform: Recorder = field(repr=False, compare=False)

    @property
    def output_dir(self) -> Path:
        return Path(self.platform.output_dir)

    @property
    def outputs(self) -> dict[str, Path]:
        """The files below the output folder, by their path in it."""
        folder = self.output_dir
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path for path in files}

    @property
    def progress(self) -> list[Any]:
        """Each update in order: `percent`, `message`."""
        return self.platform.progress

    @property
    def metrics(self) -> list[tuple[str, float | str]]:
        """Each record in order: name, value."""
        return self.platform.metrics

    @property
    def statuses(self) -> dict[str, str]:
        return self.platform.statuses

    @property
    def started(self) -> list[Child]:
        """The jobs that it started, run or not: `job_id`, `name`, `payload`, `key`."""
        return self.platform.children


def error_shown(error: Failure | None) -> dict[str, Any] | None:
    """As JSON has it."""
    if error is None:
        return None
    names = ("kind", "type", "message", "traceback", "exit_code")
    return {name: getattr(error, name) for name in names}
