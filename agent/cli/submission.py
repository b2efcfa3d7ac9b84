"""cli/submission — a job sent so that it exists once, and asked about, however often the connection breaks."""

from dataclasses import dataclass
from typing import Any

from agent.cli.patience import Patience
from agent.cli.refusals import AWAY, ApiRefusedError, NotReachableError
from agent.cli.request import Request, get, job_path
from agent.cli.session import Call

# For an answer that is waited for.
WAIT_SECONDS = 50


@dataclass(frozen=True, slots=True)
class Submission:
    """`path` is where a job is asked for: POST of any body there is answered with one."""

    body: object
    path: str = "/v1/jobs"


async def submit_body(call: Call, asked: Submission, key: str) -> Any:  # noqa: ANN401 - the job as decoded JSON
    """Submit; the answer is repeated for until it arrives, since under one key the job is made once."""
    request = Request("POST", asked.path, body=asked.body, headers={"Idempotency-Key": key})
    patience = Patience(call.screen)
    was_sent = False
    while True:
        try:
            return await call.api.ask(request)
        except AWAY as error:
            # Nobody there at the first try is an answer for the user; after that, the job may have been accepted.
            if isinstance(error, NotReachableError) and not was_sent:
                raise
            was_sent = True
            await patience.wait(error, "the answer was lost; asking again, which makes no second job")


async def read_job(call: Call, job_id: str) -> Any:  # noqa: ANN401 - the job as decoded JSON
    """The job as it is now, or as soon as the agent is back."""
    return await ask_patiently(call, get(job_path(job_id)))


async def ask_patiently(call: Call, request: Request) -> Any:  # noqa: ANN401 - decoded JSON
    """The answer, as soon as the agent gives one. Raises what it refuses, and what lasts too long."""
    patience = Patience(call.screen)
    while True:
        try:
            return await call.api.ask(request)
        except (*AWAY, ApiRefusedError) as error:
            await patience.wait(error, "the agent is away; waiting for it, the job goes on")
