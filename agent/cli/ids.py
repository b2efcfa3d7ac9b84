"""cli/ids — a job by any unique beginning of its id. Asks the API only where the id is not whole."""

import re
from typing import TYPE_CHECKING

from agent.cli.refusals import AmbiguousJobError, NoSuchJobError
from agent.cli.request import get
from agent.cli.show.jobs import name_of, state_of
from agent.cli.show.words import one_line

if TYPE_CHECKING:
    from agent.cli.client import Api

WHOLE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
BEGINNING = re.compile(r"[0-9a-f-]{1,36}", re.IGNORECASE)
SHOWN_CANDIDATES = 10


async def find_job(api: "Api", given: str) -> str:
    """The whole id. Raises NoSuchJobError, AmbiguousJobError, and what the API refuses."""
    if WHOLE.fullmatch(given):
        return given.lower()
    if not BEGINNING.fullmatch(given):
        raise NoSuchJobError(f"{given[:64]!a} is no beginning of a job's id")
    page = await api.ask(get("/v1/jobs", {"id": given.lower(), "limit": SHOWN_CANDIDATES}))
    jobs = page["items"]
    if not jobs:
        raise NoSuchJobError(f"no job's id begins with {given}")
    if len(jobs) > 1:
        lines = [f"  {job['id']}  {one_line(name_of(job))}  {state_of(job)}" for job in jobs]
        raise AmbiguousJobError(given, [*lines, "  …"] if page["next"] else lines)
    return str(jobs[0]["id"])
