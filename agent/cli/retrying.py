"""cli/retrying — `outputs retry`: what did not leave is sent again. Sends nothing itself: the agent does, with or without this program."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.ids import find_job
from agent.cli.options import JobArgument
from agent.cli.refusals import ApiRefusedError, BadArgumentError
from agent.cli.request import Request, job_path
from agent.cli.screen import Form
from agent.cli.specfile import read_json

if TYPE_CHECKING:
    from agent.cli.session import Call

WITH_UPLOAD = "Write the spec's outputs.upload, with its URL's query and its headers, to a file, and add --upload FILE.json."


async def retry(
    call: "Call",
    job: JobArgument,
    *,
    upload: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json|-",
            help="Where to: JSON as in a spec's outputs.upload; - reads it from stdin. Needed where it holds secrets, since the agent forgets them.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Come back when it is over; exit code 1 unless all was sent.")] = False,
) -> int:  # fmt: skip
    """Send what did not leave of a finished job. To another place than before, everything is sent.

    `gpu-agent show JOB` tells how it goes, `gpu-agent stop JOB` ends it.
    """
    from agent.cli.leaving import has_left, say_upload, see_upload_end  # noqa: PLC0415 - takes the event loop with it

    body = None if upload is None else read_upload(upload)
    job_id = await find_job(call.api, job)
    begun = await _ask(call, job_id, body)
    if not wait:
        call.screen.answer_line(begun, f"{job_id} sending")
        return 0
    seen = await see_upload_end(call, job_id)
    say_upload(call, seen)
    call.screen.answer_line({"job": job_id, **seen["upload"]}, f"{job_id} {seen['upload']['state']}")
    return 0 if has_left(seen) else 1


def read_upload(source: str) -> dict[str, Any]:
    """The body of a retry, out of a file with an `upload` alone or with one in `upload`. Raises BadArgumentError."""
    found = read_json(source)
    if not isinstance(found, dict):
        raise BadArgumentError(
            f'{source} holds no object such as {{"to": "put", "url": "https://…/{{path}}"}}'
        )
    return found if "upload" in found else {"upload": found}


async def _ask(call: "Call", job_id: str, body: object) -> dict[str, Any]:
    try:
        begun: dict[str, Any] = await call.api.ask(Request("POST", job_path(job_id, "/outputs/retry"), body=body))  # fmt: skip
    except ApiRefusedError as refusal:
        if refusal.code == "upload_needed" and call.screen.form is Form.PEOPLE:
            raise ApiRefusedError(refusal.status, {**refusal.document, "remedy": WITH_UPLOAD}) from refusal
        raise
    return begun
