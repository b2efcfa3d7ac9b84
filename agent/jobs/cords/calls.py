"""jobs/cords/calls — one call of a cord, from its request to the last byte of its answer. Which job answers is `hosts`' to say; knows no HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import structlog

from agent.core.chute import Version
from agent.core.cord_answer import BadCordAnswerError, CordFault, CordFaultKind, CordHead
from agent.core.job import Viewer
from agent.core.json_line import dump_with
from agent.errors import AgentError
from agent.interfaces.cord_line import CordLine, CordLineBrokenError
from agent.interfaces.cord_store import CordKey, KeptAnswer
from agent.jobs.chutes import Chutes
from agent.jobs.cords.errors import (
    CordAnswerInvalidError,
    CordArgumentsInvalidError,
    CordFailedError,
    CordHostEndedError,
    CordMethodError,
    CordTimedOutError,
    NoSuchCordError,
)
from agent.jobs.cords.host import Host
from agent.jobs.cords.hosts import Hosts
from agent.jobs.cords.replays import Replays, digest_call, may_keep
from agent.jobs.cords.room import Room
from agent.jobs.cords.tally import Tally
from agent.jobs.functions.cord_calls import CordCalls
from agent.spec import CordFunction, CordMatch, NoCord, OtherMethods, match_cord

log = structlog.get_logger(__name__)

# From its head on. What goes on for ever would hold one of the host's places for ever.
STREAM_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class CordCall:
    """A request as it came: `path` with its escapes, `query` decoded and `raw_query` not. `body`: text that was seen to be JSON; None: none."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    raw_query: str = ""
    body: bytes | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CordReply:
    """`size` None: nobody knows how long it is. `pieces` is read once."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    size: int | None
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call that leads to a cord."""

    version: Version
    match: CordMatch
    call: CordCall
    id: str


class Cords:
    """`new_id` makes a fresh UUID."""

    def __init__(self, chutes: Chutes, hosts: Hosts, replays: Replays, new_id: Callable[[], str]) -> None:
        self._chutes = chutes
        self.hosts = hosts
        self.replays = replays
        self._new_id = new_id
        self._room = Room()
        self.under_way = CordCalls()
        self.tally = Tally()

    @asynccontextmanager
    async def answer(self, viewer: Viewer, name: str, call: CordCall) -> AsyncIterator[CordReply]:
        """The answer, while the block runs. What is left of it then is given up, and the cord is cancelled.

        Raises NoSuchChuteError, BodyConflictError, StoreUnavailableError, and all of `errors`; within the block, what becomes of the pieces.
        """
        with self.tally.counting(asyncio.get_running_loop().time):
            # The chute's own owner alone, as a start: what it does is done in his name.
            owner = Viewer(viewer.principal)
            version = await self._chutes.find(owner, name)
            match = find_cord(version, call)
            held = self._room.holding(version.owner, len(call.body or b""))
            with self._chutes.using(version), held:
                if call.key is None:
                    async with self._make(_Asked(version, match, call, self._new_id())) as reply:
                        yield reply
                else:
                    async with self._make_once(owner, version, call, call.key) as reply:
                        yield reply

    @asynccontextmanager
    async def _make_once(
        self, owner: Viewer, version: Version, call: CordCall, given: str
    ) -> AsyncIterator[CordReply]:
        key = CordKey(version.owner, str(version.chute), given)
        digest = digest_call(call.method, f"{call.path}?{call.raw_query}", call.body)
        async with self.replays.turn(key, digest, self.hosts.times().call_seconds) as begun:
            if begun.answer is not None:
                yield _whole(begun.answer)
                return
            # The one before may have been waited for while a newer version was deployed.
            newest = await self._chutes.find(owner, str(version.chute))
            async with self._make(_Asked(newest, find_cord(newest, call), call, begun.id)) as reply:
                if not may_keep(reply.status, reply.size):
                    yield reply
                    return
                body = b"".join([piece async for piece in reply.pieces])
            answer = KeptAnswer(reply.status, reply.content_type, reply.headers, body)
            await self.replays.keep(key, begun.id, answer)
            log.debug("cord.answer_kept", call=begun.id)
        yield _whole(answer)

    @asynccontextmanager
    async def _make(self, asked: _Asked) -> AsyncIterator[CordReply]:
        with self.hosts.called(asked.version) as host:
            line = await self.hosts.acquire(host)
            job_id = host.job_of(line)
            try:
                log.debug("cord.called", call=asked.id, job=job_id, cord=asked.match.cord.function)
                with self.under_way.making(job_id, asked.id):
                    head = await self._head(line, job_id, asked)
                    log.debug("cord.answered", call=asked.id, job=job_id, status=head.status)
                    async with aclosing(self._pieces(line, job_id)) as pieces:
                        yield CordReply(head.status, head.content_type, head.headers, head.size, pieces)
            finally:
                release(host, line)

    async def _head(self, line: CordLine, job_id: str, asked: _Asked) -> CordHead:
        seconds = self.hosts.times().call_seconds
        try:
            async with asyncio.timeout(seconds):
                head = await line.call(request_of(asked))
        except TimeoutError:
            raise CordTimedOutError(seconds, job_id) from None
        except CordLineBrokenError as broken:
            raise CordHostEndedError(job_id, await self.hosts.why_ended(job_id)) from broken
        except BadCordAnswerError as bad:
            raise CordAnswerInvalidError(f"what came is no answer: {bad}", job_id) from bad
        if isinstance(head, CordFault):
            raise refusal_of(head, job_id)
        return head

    async def _pieces(self, line: CordLine, job_id: str) -> AsyncGenerator[bytes]:
        seconds = self.hosts.times().call_seconds
        loop = asyncio.get_running_loop()
        until = loop.time() + STREAM_SECONDS
        try:
            async with aclosing(line.body()) as body:
                while True:
                    if loop.time() >= until:
                        raise CordTimedOutError(STREAM_SECONDS, job_id)
                    async with asyncio.timeout(seconds):
                        piece = await anext(body, None)
                    if piece is None:
                        return
                    yield piece
        except TimeoutError:
            raise CordTimedOutError(seconds, job_id) from None
        except CordLineBrokenError as broken:
            raise CordHostEndedError(job_id, await self.hosts.why_ended(job_id)) from broken
        except BadCordAnswerError as bad:
            raise CordAnswerInvalidError(f"what came is no answer: {bad}", job_id) from bad


def find_cord(version: Version, call: CordCall) -> CordMatch:
    """Raises NoSuchCordError, CordMethodError."""
    match match_cord(cords_of(version), call.method, call.path):
        case CordMatch() as found:
            return found
        case OtherMethods(allowed):
            raise CordMethodError(call.method, call.path, allowed)
        case NoCord(near):
            raise NoSuchCordError(str(version.chute), call.path, near)


def release(host: Host, line: CordLine) -> None:
    """What was not read to its end is given up: the launcher sees it by the connection's end."""
    if line.is_open:
        host.free(line)
    else:
        line.close()


def request_of(asked: _Asked) -> bytes:
    """The line that the launcher reads."""
    call, cord = asked.call, asked.match.cord
    said = {
        "cord": asked.match.index,
        "function": cord.function,
        "call": asked.id,
        "params": asked.match.params,
        "query": {
            name: values[0] if len(values) == 1 else list(values) for name, values in call.query.items()
        },
        "has_body": call.body is not None,
    }
    return dump_with(said, "body", b"null" if call.body is None else call.body)


def refusal_of(fault: CordFault, job_id: str) -> AgentError:
    match fault.kind:
        case CordFaultKind.BINDING:
            return CordArgumentsInvalidError(fault.message or "what was sent does not fit the cord")
        case CordFaultKind.RAISED:
            return CordFailedError(
                ": ".join(filter(None, (fault.type, fault.message))) or "it failed", job_id
            )
        case kind:
            return CordAnswerInvalidError(f"{kind.value.replace('_', ' ')}: {fault.message}", job_id)


def cords_of(version: Version) -> Sequence[CordFunction]:
    return () if version.manifest is None else version.manifest.cords


def _whole(answer: KeptAnswer) -> CordReply:
    return CordReply(answer.status, answer.content_type, answer.headers, len(answer.body), _one(answer.body))


async def _one(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
