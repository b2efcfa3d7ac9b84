"""chutes/testing/cords — a chute's cords called in this process, with the arguments and answers of a host. Opens no socket."""

from __future__ import annotations

import asyncio
import contextvars
import json
from dataclasses import dataclass, field, replace
from typing import Any, Mapping
from uuid import uuid4

from chutes._cord_binding import Request
from chutes._runtime.cords.answers import Refusal, Whole, refused
from chutes._runtime.cords.calls import CALL, Call
from chutes._runtime.cords.performing import Streamed, perform
from chutes._runtime.cords.threads import Threads
from chutes._runtime.endings import failed
from chutes.chute import Chute
from chutes.testing.attempts import OURS_TO_HEED, call_hook
from chutes.testing.platform import LocalPlatform
from chutes.testing.results import Failure
from chutes.testing.routes import Found, NotFound, find, read_query

# With what a host answers where the function gives no answer.
STATUSES = {"binding": 422, "startup": 503}
MAX_BODY_BYTES = 1 << 20


class Nothing:
    """No body, which is something else than the body `null`."""


NO_BODY = Nothing()


@dataclass(frozen=True)
class CordAnswer:
    """What a caller gets. `error` is there where the function gave no answer: it raised, or the request did not fit it.

    Its `kind`: raised, binding, result_not_json, result_too_large, bad_status, startup, unknown_path or unknown_method.
    """

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    # Of a stream, in order.
    pieces: tuple[bytes, ...] | None = field(default=None, repr=False)
    error: Failure | None = None

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class LocalCords:
    """The chute goes on from call to call, as the host job of its cords does."""

    def __init__(self, chute: Chute, platform: LocalPlatform) -> None:
        self._chute = chute
        self.platform = platform
        self._threads = Threads(chute.concurrency)
        self._turn: asyncio.Lock | None = None
        self._is_started = False

    async def call(self, method: str, path: str, query: Mapping[str, Any], body: Any) -> CordAnswer:
        asked = method.upper()
        place, _, written = path.partition("?")
        found = find(self._chute.cords, asked, place)
        if isinstance(found, NotFound):
            answer = not_found(asked, place, found)
        else:
            answer = await self._perform(found, asked, read_query(written, query), body)
        # Only its head leaves.
        return replace(answer, body=b"", pieces=None) if asked == "HEAD" else answer

    async def _perform(self, found: Found, method: str, query: dict[str, Any], body: Any) -> CordAnswer:
        request = Request(found.params, query, body is not NO_BODY, read_body(body))
        not_started = await self._start()
        if not_started is not None:
            return not_started
        context = contextvars.copy_context()
        context.run(CALL.set, Call(str(uuid4())))
        # A task of its own, as on a host: what the function sets in its context is nobody else's.
        perform_it = perform_head if method == "HEAD" else perform_whole
        task: asyncio.Task[CordAnswer] = context.run(
            asyncio.ensure_future, perform_it(self._chute, found.cord, request, self._threads)
        )
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            # The test gives the call up, as a caller who leaves does.
            task.cancel()
            await asyncio.wait({task})
            raise
        return task.result()

    async def shut_down(self) -> None:
        if self._is_started:
            self._is_started = False
            for hook in self._chute.shutdown_hooks:
                await call_hook(hook, self._chute)

    async def _start(self) -> CordAnswer | None:
        """Before the first call, and again where that failed."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            if self._is_started:
                return None
            self._chute.attach(self.platform)
            try:
                for hook in self._chute.startup_hooks:
                    await call_hook(hook, self._chute)
            except (asyncio.CancelledError, *OURS_TO_HEED):
                raise
            except BaseException as error:  # noqa: BLE001 — the author's code may raise anything, and a host would say so
                return answer_of(refused("startup", error))
            self._is_started = True
            return None


async def perform_whole(chute: Chute, cord: Any, request: Request, threads: Threads) -> CordAnswer:
    performed = await perform(chute, cord, request, threads)
    if isinstance(performed, Streamed):
        return await read_stream(performed)
    return answer_of(performed)


async def perform_head(chute: Chute, cord: Any, request: Request, threads: Threads) -> CordAnswer:
    """Nobody reads what comes of it: a stream is given up."""
    performed = await perform(chute, cord, request, threads)
    if isinstance(performed, Streamed):
        await performed.rest.close()
        return CordAnswer(200, performed.content_type, b"")
    return answer_of(performed)


async def read_stream(streamed: Streamed) -> CordAnswer:
    """To its end. What it raised in the middle is in `error`, beside the pieces that had left."""
    pieces, piece, error = [], streamed.first, None
    try:
        while piece is not None:
            pieces.append(piece)
            piece = await streamed.rest.next()
    except OURS_TO_HEED:
        raise
    except BaseException as broke:  # noqa: BLE001 — as above
        error = failure_of(refused("raised", broke))
    finally:
        await streamed.rest.close()
    return CordAnswer(200, streamed.content_type, b"".join(pieces), {}, tuple(pieces), error)


def answer_of(given: Whole | Refusal) -> CordAnswer:
    if isinstance(given, Whole):
        return CordAnswer(given.status, given.content_type, given.body, given.headers)
    if isinstance(given.error, OURS_TO_HEED):
        raise given.error
    return problem(STATUSES.get(given.kind, 500), failure_of(given))


def not_found(method: str, path: str, found: NotFound) -> CordAnswer:
    headers = {"Allow": ", ".join(found.methods)}
    if found.methods and method == "OPTIONS":
        return CordAnswer(204, "", b"", headers)
    if found.methods:
        told = f"{path} takes {', '.join(found.methods)} and no {method}"
        answer = problem(405, failure_of(Refusal("unknown_method", "LookupError", told)))
        return replace(answer, headers=headers)
    return problem(
        404, failure_of(Refusal("unknown_path", "LookupError", f"the chute has no cord at {path}"))
    )


def problem(status: int, error: Failure) -> CordAnswer:
    body = json.dumps({"status": status, "kind": error.kind, "detail": error.message}).encode()
    return CordAnswer(status, "application/problem+json", body, error=error)


def failure_of(given: Refusal) -> Failure:
    traceback = (
        "" if given.error is None else str((failed(given.kind, given.error).error or {}).get("traceback"))
    )
    return Failure(given.kind, given.type, given.message, traceback, exception=given.error)


def read_body(body: Any) -> Any:
    """As JSON has it."""
    if body is NO_BODY:
        return None
    try:
        text = json.dumps(body, allow_nan=False)
    except (TypeError, ValueError) as why:
        raise ValueError(f"the body is no JSON: {why}") from why
    if len(text) > MAX_BODY_BYTES:
        raise ValueError(f"the body has {len(text)} bytes, and {MAX_BODY_BYTES} are the most")
    return json.loads(text)
