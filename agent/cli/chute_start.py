"""cli/chute_start — `chute run NAME/JOB`: a job of a deployed chute, submitted, followed, its result printed. Runs nothing here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from agent.cli.refusals import BadArgumentError
from agent.cli.request import chute_path, job_path, stream
from agent.cli.show.words import clean

if TYPE_CHECKING:
    from agent.cli.landing import Overwrite
    from agent.cli.session import Call


@dataclass(frozen=True, slots=True)
class Start:
    """`target`: NAME/JOB. `spec` None: the deploy's defaults as they are."""

    target: str
    payload: dict[str, Any]
    spec: dict[str, Any] | None
    outputs: Path | None
    overwrite: "Overwrite"


def split_target(target: str) -> tuple[str, str]:
    """The chute's name and the job's. Raises BadArgumentError."""
    name, slash, job = target.partition("/")
    if not slash or not name or not job:
        raise BadArgumentError(
            f"{target!a} names no job of a chute; write NAME/JOB, or FILE:JOB with --local; `gpu-agent chute ls` lists them"
        )
    return name, job


async def start(call: "Call", asked: Start) -> int:
    """The exit code, as of `gpu-agent run`."""
    from agent.cli.attended import Attended, attend  # noqa: PLC0415 - takes the event loop with it

    return await attend(call, submission_of(asked), Attended(asked.outputs, asked.overwrite, print_result))


async def start_only(call: "Call", asked: Start) -> int:
    """Print the id and leave."""
    from agent.cli.attended import submit_only  # noqa: PLC0415 - takes the event loop with it

    return await submit_only(call, submission_of(asked))


def submission_of(asked: Start) -> Any:  # noqa: ANN401 - its type takes the event loop with it
    from agent.cli.submission import Submission  # noqa: PLC0415 - see above

    name, job = split_target(asked.target)
    body = {"payload": asked.payload, **({} if asked.spec is None else {"spec": asked.spec})}
    return Submission(body, chute_path(name, f"/jobs/{quote(job, safe='')}"))


async def print_result(call: "Call", job: dict[str, Any]) -> None:
    """What the function returned, to stdout: as JSON, one that is too large for the job's own answer as it comes."""
    if job["outcome"] != "succeeded":
        return
    if job.get("result_bytes") and job["result"] is None:
        async with call.api.open(stream(job_path(job["id"], "/result"))) as answer:
            async for chunk in answer.content.iter_any():
                call.screen.raw_out.write(chunk)
        call.screen.raw_out.write(b"\n")
        call.screen.raw_out.flush()
        return
    call.screen.out.file.write(clean(json.dumps(job["result"], indent=2, ensure_ascii=False)) + "\n")
