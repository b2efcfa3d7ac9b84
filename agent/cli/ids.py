"""cli/ids — a job by any unique beginning of its id; what such a beginning is. Asks the API only where the id is not whole."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
        lines = candidates_of(page, lambda job: f"{one_line(name_of(job))}  {state_of(job)}")
        raise AmbiguousJobError(given, lines)
    return str(jobs[0]["id"])


def candidates_of(page: Any, show: Callable[[Any], str]) -> list[str]:  # noqa: ANN401 - decoded JSON
    """A line for each that may be meant, and one that says where there are more."""
    lines = [f"  {each['id']}  {show(each)}" for each in page["items"]]
    return [*lines, "  …"] if page["next"] else lines
