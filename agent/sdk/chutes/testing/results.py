"""chutes/testing/results — what came of a job: values to assert on. Runs nothing."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chutes.errors import HTTPException, PermanentError
from chutes.platform import Child, Recorder

MAX_MESSAGE_CHARACTERS = 4_000
OURS = str(Path(__file__).resolve().parents[1])


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
    # Of sys.exit, and of an HTTPException.
    exit_code: int | None = None
    status_code: int | None = None
    exception: BaseException | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, error: BaseException, kind: str | None = None) -> Failure:
        return cls(
            kind or kind_of(error),
            type(error).__name__,
            text_of(error)[:MAX_MESSAGE_CHARACTERS],
            traceback_of(error),
            exit_code_of(error) if isinstance(error, SystemExit) else None,
            error.status_code if isinstance(error, HTTPException) else None,
            error,
        )


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


def kind_of(error: BaseException) -> str:
    if isinstance(error, PermanentError):
        return "permanent"
    return "exit" if isinstance(error, SystemExit) else "raised"


def exit_code_of(error: SystemExit) -> int:
    """As the interpreter has it: a text is printed, and the code is 1."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 — the author's own __str__, which may raise anything
        return f"<its text raised {type(broken).__name__}>"


def traceback_of(error: BaseException) -> str:
    """From the first line on that is not ours."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename.startswith(OURS):
        place = place.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, place))
    except Exception as broken:  # noqa: BLE001 — as above
        return f"<its traceback raised {type(broken).__name__}>"
