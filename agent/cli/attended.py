"""cli/attended — a job from its submit to its exit code, watched: a straight line that survives restarts of the agent.

The line: submit → each attempt (wait until it begins, its log) → the end → outputs leave, or are fetched → exit code.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.text import Text

from agent.aio import spawn
from agent.cli.bars import Bar
from agent.cli.exits import NOT_THE_JOBS, exit_code_of
from agent.cli.feed import Feed
from agent.cli.follow import ENDED, Pen, follow_log
from agent.cli.interrupts import Interrupts
from agent.cli.landing import Overwrite
from agent.cli.leaving import has_left, say_upload, see_end
from agent.cli.outputs import fetch_outputs, say_fetched
from agent.cli.refusals import ApiRefusedError, BadArgumentError
from agent.cli.screen import Form
from agent.cli.session import INTERRUPTED, PIPE_CLOSED, Call, abandon_stdout
from agent.cli.show.jobs import port_text, reason_text, run_time, state_of
from agent.cli.show.tables import state_text
from agent.cli.submission import Submission, read_job, submit_body
from agent.errors import AgentError

# How long nothing may happen before the job is asked what it waits for.
QUIET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Attended:
    """What is done after the job. `outputs` None: nothing is fetched. `answer`: what its answer is, which then has stdout for itself;
    None: it is what the job writes.
    """

    outputs: Path | None
    overwrite: Overwrite
    answer: Callable[[Call, dict[str, Any]], Awaitable[None]] | None = None


async def submit_only(call: Call, asked: Submission) -> int:
    job = await submit_body(call, asked, str(uuid4()))
    call.screen.answer_line(job, str(job["id"]))
    return 0


async def attend(call: Call, asked: Submission, after: Attended) -> int:
    """The exit code. Ctrl-C asks, then detaches: the job goes on, and the code is 130. Raises BadArgumentError before all else."""
    if after.outputs is not None and after.outputs.exists() and not after.outputs.is_dir():
        raise BadArgumentError(f"-o {after.outputs} is there, and is no folder")
    job_id = await _submit(call, asked)
    pen = Pen(call.screen)
    if call.screen.form is Form.JSON or after.answer is not None:
        pen.keep_off_stdout()
    interrupts = Interrupts(call, job_id, pen.gate)
    with interrupts.caught():
        call.screen.say(f"job {job_id}")
        async with asyncio.TaskGroup() as group:
            line = spawn(group, _guarded_line(call, job_id, pen, after), "line")
            leaving = spawn(group, interrupts.watch(), "interrupts")
            await asyncio.wait({line, leaving}, return_when=asyncio.FIRST_COMPLETED)
            line.cancel()
            leaving.cancel()
    return INTERRUPTED if line.cancelled() else line.result()


async def _submit(call: Call, asked: Submission) -> str:
    try:
        return str((await submit_body(call, asked, str(uuid4())))["id"])
    except asyncio.CancelledError:
        call.screen.note("interrupted while the job was sent: `gpu-agent ps` tells whether it was accepted")
        raise


async def _guarded_line(call: Call, job_id: str, pen: Pen, after: Attended) -> int:
    """Errors end here, where it is known that there is a job, and that it goes on."""
    try:
        return await _line(call, job_id, pen, after)
    except (AgentError, ApiRefusedError) as error:
        call.screen.refuse(error)
        call.screen.note(f"the job is not concerned; come back with: gpu-agent logs -f {job_id}")
        return NOT_THE_JOBS
    except BrokenPipeError:
        abandon_stdout()
        call.screen.note(f"nobody reads the output any more; the job goes on: gpu-agent logs -f {job_id}")
        return PIPE_CLOSED


async def _line(call: Call, job_id: str, pen: Pen, after: Attended) -> int:
    _say_end(call, await _follow_attempts(call, job_id, pen))
    job = await see_end(call, job_id)
    say_upload(call, job)
    code = exit_code_of(job) or (0 if has_left(job) else NOT_THE_JOBS)
    if after.outputs is not None:
        fetched = await fetch_outputs(call, job_id, None, after.outputs, after.overwrite)
        say_fetched(call.screen, fetched, after.outputs)
        code = code or (0 if fetched.is_whole else NOT_THE_JOBS)
    if call.screen.form is Form.JSON:
        call.screen.write_json(job)
    elif after.answer is not None:
        await after.answer(call, job)
    return code


async def _follow_attempts(call: Call, job_id: str, pen: Pen) -> dict[str, Any]:
    """The job, its outcome decided."""
    feed, number = Feed(call, job_id, after=0), 1
    while True:
        await _wait_until_begun(call, feed, job_id, number)
        job: dict[str, Any] = await read_job(call, job_id)
        for port in job["ports"]:
            if port["host_port"] is not None:
                call.screen.say(port_text(port))
        await follow_log(call, job_id, {"follow": "true", "attempt": number}, pen)
        job = await read_job(call, job_id)
        if job["attempt"] > number:
            _say_retry(call, job, number)
            number += 1
            pen.start_anew()
        elif job["phase"] in ENDED:
            return job


async def _wait_until_begun(call: Call, feed: Feed, job_id: str, number: int) -> None:
    """Until the attempt runs, or is over without having run. Shows what it waits for."""
    with Bar(call.screen) as bar:
        async with aclosing(feed.events(QUIET_SECONDS)) as events:
            async for event in events:
                if event is None:
                    job = await read_job(call, job_id)
                    if _has_begun(job["phase"], job["attempt"], number):
                        return
                    waits_for = job.get("waiting_words") or job["waiting_for"]
                    bar.tell(f"waiting for {waits_for}" if waits_for else str(job["phase"]))
                elif event["type"] == "image.progress":
                    data = event["data"]
                    bar.tell(f"pulling {data['image']}", data["bytes_done"], data["bytes_total"])
                elif "to" in event["data"]:
                    data = event["data"]
                    if _has_begun(data["to"], data["attempt"], number):
                        return


def _has_begun(phase: str, attempt: int, number: int) -> bool:
    return attempt > number or phase not in {"queued", "starting"}


def _say_retry(call: Call, job: dict[str, Any], number: int) -> None:
    ended = [attempt for attempt in job["attempts"] if attempt["number"] == number]
    reason = (ended[-1].get("reason") or {}) if ended else {}
    call.screen.note(f"— attempt {number}: {reason.get('message', 'ended')}; attempt {number + 1} follows —")


def _say_end(call: Call, job: dict[str, Any]) -> None:
    if call.screen.form is Form.JSON:
        return
    took = run_time(job.get("exit") or {})
    line = Text.assemble(state_text(state_of(job)), f" after {took}" if took else "", style="bold")
    call.screen.err.print(line)
    if job.get("reason"):
        call.screen.err.print(reason_text(job["reason"]))
