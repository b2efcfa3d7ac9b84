"""cli/chute_call — `chute call`: a request to a chute's cord, and its answer to stdout as it comes. Makes sense of neither."""

import json
import re
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.payload import read_written
from agent.cli.refusals import BadArgumentError
from agent.cli.request import Pace, Raw, Request, Speaker, chute_path

if TYPE_CHECKING:
    from agent.cli.session import Call

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# As it stands in a URL: escapes are the caller's, since only he knows which slash is part of a parameter.
PATH = re.compile(r"/[\x21\x22\x24-\x7e]*")


async def call(  # noqa: PLR0913 - each option is a parameter
    call: "Call",
    name: Annotated[str, typer.Argument(metavar="NAME", help="The chute's name.")],
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, …")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="The cord's path, and a query, as in /status/1?full=true.")],
    *,
    body: Annotated[str | None, typer.Option(metavar="JSON|@FILE|-", help="What is sent; default: nothing.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="The same key and call get the first answer again.")] = None,
) -> int:  # fmt: skip
    """Call a cord of a chute. Its answer goes to stdout; exits with 1 where its status is 400 or more."""
    request = Request(
        read_method(method),
        chute_path(name, f"/cords{read_path(path)}"),
        body=None if body is None else read_body(body),
        headers={} if key is None else {"Idempotency-Key": key},
        pace=Pace.PATIENT,
        speaker=Speaker.AUTHOR,
    )
    async with call.api.open(request) as answer:
        async for piece in answer.content.iter_any():
            call.screen.raw_out.write(piece)
            call.screen.raw_out.flush()
        if answer.status >= 400:
            call.screen.note(f"the cord answered {answer.status}")
            return 1
    return 0


def read_method(written: str) -> str:
    if written.upper() not in METHODS:
        raise BadArgumentError(f"{written[:20]!a} is no method; write one of {', '.join(METHODS)}")
    return written.upper()


def read_path(written: str) -> str:
    if not PATH.fullmatch(written):
        raise BadArgumentError(
            f"{written[:60]!a} is no path; begin with /, and percent-encode what has to be"
        )
    return written


def read_body(written: str) -> Raw:
    sent = json.dumps(read_written(written, "--body")).encode()
    return Raw(sent, "application/json", lambda _size: None)
