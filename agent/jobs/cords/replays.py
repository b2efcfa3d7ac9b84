"""jobs/cords/replays — calls that their callers named: one at a time under a name, and its answer again for a day. Makes no call.

What a call is, and its id, are written down before it is made: whatever becomes of it, another call under its name is refused, and the
same one starts nothing twice.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from agent.interfaces import BodyConflictError, Clock, Store, StoreUnavailableError
from agent.interfaces.cord_store import BegunCall, CordCaps, CordKey, KeptAnswer
from agent.jobs.cords.errors import CordBusyError

log = structlog.get_logger(__name__)

KEPT_SECONDS = 86_400.0
TIDY_SECONDS = 600.0
# A larger answer, or a stream, is made anew; so is one that says that its maker failed.
MOST_KEPT_BYTES = 256 << 10
SERVER_ERROR = 500
# Nobody's answers fill the disk of the state, or push those of others out: 6 MB of calls and 32 MiB of answers at most.
CAPS = CordCaps(calls=10_000, answers=1_000, owner_bytes=32 << 20, all_bytes=256 << 20)


@dataclass(slots=True)
class _UnderWay:
    digest: str
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Replays:
    """Standing task `tidy_up`. `new_id` makes a fresh UUID."""

    def __init__(self, store: Store, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._under_way: dict[CordKey, _UnderWay] = {}

    @asynccontextmanager
    async def turn(self, key: CordKey, digest: str, seconds: float) -> AsyncIterator[BegunCall]:
        """The call, durable; where it has no answer: make it, and `keep` what comes. `seconds`: to wait for the same call.

        Raises BodyConflictError for another call under the same name, CordBusyError, StoreUnavailableError.
        """
        try:
            async with asyncio.timeout(seconds):
                while (other := self._under_way.get(key)) is not None:
                    refuse_other(other.digest, digest)
                    await other.is_over.wait()
        except TimeoutError:
            raise CordBusyError(f"the same call was not over after {seconds:g} s") from None
        mine = self._under_way[key] = _UnderWay(digest)
        try:
            begun = BegunCall(digest, self._new_id())
            call = await self._store.begin_cord_call(key, begun, self._clock.now(), CAPS)
            refuse_other(call.digest, digest)
            yield call
        finally:
            del self._under_way[key]
            mine.is_over.set()

    async def keep(self, key: CordKey, call_id: str, answer: KeptAnswer) -> None:
        """Where it can't be kept, the caller has it all the same; a repetition makes the call again."""
        try:
            await self._store.keep_cord_answer(key, call_id, answer, CAPS)
        except StoreUnavailableError as error:
            log.warning("cords.answer_not_kept", code=error.code, error=str(error))

    async def tidy_up(self) -> None:
        """Drop what is older than a day, now and then."""
        while True:
            try:
                await self._store.drop_cord_calls(self._clock.now() - KEPT_SECONDS)
            except StoreUnavailableError as error:
                log.info("cords.calls_not_dropped", code=error.code, error=str(error))
            await asyncio.sleep(TIDY_SECONDS)


def refuse_other(known: str, digest: str) -> None:
    if known != digest:
        raise BodyConflictError("the same idempotency key came before with another call of the chute")


def may_keep(status: int, size: int | None) -> bool:
    return status < SERVER_ERROR and size is not None and size <= MOST_KEPT_BYTES


def digest_call(method: str, target: str, body: bytes | None) -> str:
    """`target`: path and query, as they were sent."""
    hashed = hashlib.sha256(body or b"").hexdigest()
    return hashlib.sha256(json.dumps([method, target, hashed]).encode()).hexdigest()
