"""chutes/_runtime/cords/performing — one call of a cord: its arguments, its function, what comes of it. Knows no connection."""

from __future__ import annotations

import inspect
from os import getpid
from typing import Any, NamedTuple

from chutes._cord_binding import Request, bind_request
from chutes._cord_rules import media_type_of
from chutes._runtime.cords.answers import (
    TEXT,
    NotJsonError,
    Refusal,
    Whole,
    raised,
    refused,
    returned,
)
from chutes._runtime.cords.pieces import Pieces, is_stream
from chutes._runtime.cords.threads import Threads, leave_if_forked
from chutes.chute import Chute
from chutes.chute.cord import Cord
from chutes.errors import PayloadError


class Streamed(NamedTuple):
    """`first`: the first piece, or None where there is none. Whoever takes it closes `rest`."""

    content_type: str
    first: bytes | None
    rest: Pieces


async def perform(chute: Chute, cord: Cord, request: Request, threads: Threads) -> Whole | Streamed | Refusal:
    """Raises nothing of the author's, his CancelledError included."""
    try:
        args, kwargs = bind_request(cord.function, request)
    except PayloadError as error:
        return refused("binding", error)
    pid = getpid()
    try:
        value = await _called(threads, cord.function, chute, args, kwargs)
        leave_if_forked(pid)
        if is_stream(value):
            return await _begun(Pieces(value, threads), media_type_of(cord) or TEXT)
        return returned(value, media_type_of(cord))
    except NotJsonError as error:
        return refused("result_not_json", error)
    except BaseException as error:  # noqa: BLE001 — the author's code may raise anything, SystemExit included
        leave_if_forked(pid)
        return raised(error)


async def _called(
    threads: Threads, function: Any, chute: Chute, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(chute, *args, **kwargs)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return function(chute, *args, **kwargs)
    value = await threads.run(lambda: function(chute, *args, **kwargs))
    return await value if inspect.isawaitable(value) else value


async def _begun(pieces: Pieces, content_type: str) -> Streamed:
    # Before there is a head: what a generator raises before its first piece is an answer as any.
    try:
        first = await pieces.next()
    except BaseException:
        await pieces.close()
        raise
    return Streamed(content_type, first, pieces)
