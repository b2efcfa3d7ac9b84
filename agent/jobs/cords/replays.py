"""jobs/cords/replays — calls that their callers named: one at a time under a name, and its answer again for a day. Makes no call."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid5

import structlog

from agent.interfaces import BodyConflictError, Clock, Store, StoreUnavailableError
from agent.interfaces.cord_store import CordKey, KeptAnswer

log = structlog.get_logger(__name__)

KEPT_SECONDS = 86_400.0
TIDY_SECONDS = 600.0
# A larger answer, or a stream, is made anew; so is one that says that its maker failed.
MOST_KEPT_BYTES = 256 << 10
SERVER_ERROR = 500
_CALLS = UUID("5b0c3f8e-1c35-5d0e-9d0b-3c7b8a5c9e02")


@dataclass(slots=True)
class _UnderWay:
    digest: str
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Replays:
    """Standing task `tidy_up`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._under_way: dict[CordKey, _UnderWay] = {}

    @asynccontextmanager
    async def turn(self, key: CordKey, digest: str) -> AsyncIterator[KeptAnswer | None]:
        """What the same call was answered before; None: make it, and `keep` its answer.

        Raises BodyConflictError for another call under the same name, StoreUnavailableError.
        """
        while (other := self._under_way.get(key)) is not None:
            refuse_other(other.digest, digest)
            await other.is_over.wait()
        mine = self._under_way[key] = _UnderWay(digest)
        try:
            kept = await self._store.cord_answer(key)
            if kept is not None:
                refuse_other(kept.digest, digest)
            yield kept
        finally:
            del self._under_way[key]
            mine.is_over.set()

    async def keep(self, key: CordKey, answer: KeptAnswer) -> None:
        """Where it can't be kept, the caller has it all the same; a repetition makes the call again."""
        try:
            await self._store.keep_cord_answer(key, answer, self._clock.now())
        except StoreUnavailableError as error:
            log.warning("cords.answer_not_kept", code=error.code, error=str(error))

    async def tidy_up(self) -> None:
        """Drop what is older than a day, now and then."""
        while True:
            try:
                await self._store.drop_cord_answers(self._clock.now() - KEPT_SECONDS)
            except StoreUnavailableError as error:
                log.info("cords.answers_not_dropped", code=error.code, error=str(error))
            await asyncio.sleep(TIDY_SECONDS)


def refuse_other(known: str, digest: str) -> None:
    if known != digest:
        raise BodyConflictError("the same idempotency key came before with another call of the chute")


def may_keep(status: int, size: int | None) -> bool:
    return status < SERVER_ERROR and size is not None and size <= MOST_KEPT_BYTES


def call_id_of(key: CordKey, method: str, path: str) -> str:
    """What a cord starts is named by it, so that the same call starts nothing twice. `path`: the cord's."""
    parts = [key.owner, key.chute, method, path, key.key]
    return str(uuid5(_CALLS, json.dumps(parts, separators=(",", ":"))))


def digest_call(method: str, target: str, body: bytes | None) -> str:
    """`target`: path and query, as they were sent."""
    hashed = hashlib.sha256(body or b"").hexdigest()
    return hashlib.sha256(json.dumps([method, target, hashed]).encode()).hexdigest()
