"""cli/chute_local — a job of a chute, run on this machine: its process, what that tells, Ctrl-C, the exit code. Imports nothing of the SDK.

The process has the SDK on its path and the author's code in it, so it may do anything: hold its loop up, fork, die. What counts
is what it told, and that it has ended.
"""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.cli.exits import CANCELLED, NOT_THE_JOBS, TIMED_OUT
from agent.cli.refusals import BadArgumentError
from agent.cli.screen import Screen
from agent.cli.show.chute_local import (
    failure_text,
    outcome_text,
    outputs_text,
    result_text,
    told_text,
)
from agent.cli.terminal import Ends
from agent.errors import AgentError, Blame

PROCESS = Path(__file__).parents[1] / "sdk" / "chutes" / "testing" / "__main__.py"
# Of the first retry; a host waits a little longer.
BACKOFF_SECONDS = 1
# For the process to notice by itself that time is up, and to tell.
SLACK_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.2
SHOW_AGAIN_SECONDS = 0.5
WHERE_SECONDS = 1.0
# What its process heeds, besides the end of its stdin.
STOP, WHERE = b"s", b"?"
# A result has 8 MiB at most, and as much again goes with it.
LINE_BYTES = 64 << 20


class ChuteNotRunError(AgentError):
    """The file, the chute or the job in it is not there, or not as it must be. Nothing of the job ran."""

    code, blame = "chute_not_run", Blame.USER
    remedy = "Mend the file, or write FILE:JOB with one of its jobs; --python names the Python that has its libraries."


@dataclass(frozen=True, slots=True)
class LocalJob:
    """`chute`: the variable in the file. `name` None: the only job that it has."""

    file: str
    chute: str
    name: str | None
    payload: Mapping[str, Any]
    output: Path | None
    timeout_seconds: float | None
    grace_seconds: float
    python: str


async def run_local(screen: Screen, job: LocalJob) -> int:
    """Run it, show it, and give the exit code. Raises ChuteNotRunError, BadArgumentError."""
    with output_folder(job.output) as folder:
        run = Run(screen, job.grace_seconds)
        file = found(job.file)
        request = {
            "file": str(file), "attribute": job.chute, "job": job.name, "payload": dict(job.payload), "timeout": job.timeout_seconds,
            "grace": job.grace_seconds, "backoff": BACKOFF_SECONDS, "output_dir": str(folder),
            "is_kept": job.output is not None,
        }  # fmt: skip
        async with started(job.python, file.parent, json.dumps(request).encode()) as (process, reader):
            with interruptible(screen, process, run):
                await follow(process, reader, run)
        if not run.has_begun and not run.interrupts:
            raise ChuteNotRunError(f"--python {job.python} is no Python 3.8 or newer")
        return conclude(screen, run, job.output)


def found(written: str) -> Path:
    """Raises ChuteNotRunError."""
    file = Path(written).absolute()
    if not file.is_file():
        raise ChuteNotRunError(f"there is no file {written}")
    return file


@dataclass(slots=True)
class Run:
    """What is known of it so far. `deadlines`: by what they are for, in seconds of the monotonic clock."""

    screen: Screen
    grace_seconds: float
    deadlines: dict[str, float] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    refused: str | None = None
    code: int = 0
    interrupts: int = 0
    has_begun: bool = False
    is_overdue: bool = False
    has_said_where: bool = False
    shown_at: float = 0.0

    def take(self, told: Mapping[str, Any]) -> None:
        match told["told"]:
            case "begun":
                self.has_begun = True
            case "attempt":
                self._say(told)
                if told["timeout"] is not None:
                    seconds = told["timeout"] + told["grace"] + SLACK_SECONDS
                    self.deadlines[told["job"]] = time.monotonic() + seconds
            case "ended":
                self.deadlines.pop(told["job"], None)
                if text := failure_text(told):
                    self.screen.note(text)
            case "where":
                self.has_said_where = True
                self.screen.note(told["stack"].rstrip())
            case "refused":
                self.refused = told["message"]
            case "result":
                self.result = {name: value for name, value in told.items() if name != "told"}
                self.deadlines = {"end": time.monotonic() + SLACK_SECONDS}
            case _:
                self._show(told)

    def _show(self, told: Mapping[str, Any]) -> None:
        """Of updates in quick succession some are shown, and always the last."""
        now = time.monotonic()
        if told["told"] == "progress" and told["percent"] < 100 and now - self.shown_at < SHOW_AGAIN_SECONDS:
            return
        self.shown_at = now
        self._say(told)

    def _say(self, told: Mapping[str, Any]) -> None:
        if text := told_text(told):
            self.screen.say(text)


@contextmanager
def output_folder(asked: Path | None) -> Iterator[Path]:
    if asked is None:
        with tempfile.TemporaryDirectory(prefix="gpu-agent-outputs-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    try:
        asked.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadArgumentError(f"--output {asked} can't be made: {error.strerror}") from error
    yield asked.resolve()


@contextlib.asynccontextmanager
async def started(
    python: str, folder: Path, request: bytes
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """Its process: in the file's folder, as on a host; in a session of its own, so that Ctrl-C reaches it only by us. Nothing of it is
    left when the block ends.
    """
    readable, writable = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            program_of(python), str(PROCESS), str(writable), str(len(request)),
            stdin=asyncio.subprocess.PIPE, stdout=Ends().stderr, cwd=folder, pass_fds=(writable,), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        os.close(readable)
        raise BadArgumentError(f"--python {python} can't be run: {error.strerror}") from error
    finally:
        os.close(writable)
    reader = asyncio.StreamReader(LINE_BYTES)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb")
    )
    ask(process, request)
    try:
        yield process, reader
    finally:
        kill(process)
        await process.wait()
        pipe.close()


def program_of(python: str) -> str:
    """It is named from here and begins in another folder. No link is followed: an environment's python is one."""
    return str(Path.cwd() / python) if os.sep in python else python


def kill(process: asyncio.subprocess.Process) -> None:
    """Its session as a whole, as the end of a container would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def interruptible(screen: Screen, process: asyncio.subprocess.Process, run: Run) -> Iterator[None]:
    """The first Ctrl-C asks the job to stop, the second ends it. Where this program dies its end of the pipe closes, which asks as well."""

    def interrupt() -> None:
        run.interrupts += 1
        if run.interrupts > 1:
            kill(process)
            return
        screen.note(f"stopping the job; it has {run.grace_seconds:g} s for that, and Ctrl-C ends it now")
        run.deadlines["stop"] = time.monotonic() + run.grace_seconds + SLACK_SECONDS
        ask(process, STOP)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def follow(process: asyncio.subprocess.Process, reader: asyncio.StreamReader, run: Run) -> None:
    """Until it has ended, or is overdue. What it forked may keep the pipe open, and it may have closed its own end of it."""
    while not run.is_overdue:
        try:
            async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                line = await reader.readline()
                if not line:
                    await process.wait()
                    break
                run.take(json.loads(line))
        except TimeoutError:
            if process.returncode is not None:
                break
            run.is_overdue = bool(run.deadlines) and time.monotonic() > min(run.deadlines.values())
    if run.is_overdue:
        await hear_where(process, reader, run)
        kill(process)
    run.code = await process.wait()


async def hear_where(process: asyncio.subprocess.Process, reader: asyncio.StreamReader, run: Run) -> None:
    """Where the job is that does not stop, if there is still anybody to say so."""
    with contextlib.suppress(TimeoutError):
        ask(process, WHERE)
        async with asyncio.timeout(WHERE_SECONDS):
            while not run.has_said_where and (line := await reader.readline()):
                run.take(json.loads(line))


def ask(process: asyncio.subprocess.Process, what: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - by PIPE
    process.stdin.write(what)


def conclude(screen: Screen, run: Run, kept: Path | None) -> int:
    if run.refused is not None:
        raise ChuteNotRunError(run.refused)
    if run.result is None:
        return died(screen, run)
    if text := outcome_text(run.result):
        screen.note(text)
    if run.result["outputs"] and kept is None:
        screen.say(outputs_text(len(run.result["outputs"])))
    screen.answer_text(run.result, result_text(run.result))
    return exit_code_of(run.result)


def exit_code_of(result: Mapping[str, Any]) -> int:
    match result["outcome"]:
        case "succeeded":
            return 0
        case "timed_out":
            return TIMED_OUT
        case "cancelled":
            return CANCELLED
    return int((result["error"] or {}).get("exit_code") or 1)


def died(screen: Screen, run: Run) -> int:
    """It ended without a word: killed, by us or others, or by a call such as os._exit."""
    if run.interrupts:
        outcome, how, code = "cancelled", "the job was ended before it had stopped by itself", CANCELLED
    elif run.is_overdue:
        outcome, how, code = "timed_out", "the job did not stop in its time and was ended", TIMED_OUT
    elif run.code < 0:
        outcome, code = "failed", 128 - run.code
        how = f"the job's process ended by signal {-run.code}, and without a result"
    else:
        outcome, code = "failed", run.code or NOT_THE_JOBS
        how = f"the job's process ended with exit code {run.code}, and without a result"
    screen.note(how)
    screen.answer_json({"outcome": outcome, "result": None, "error": {"message": how, "exit_code": code}})
    return code
