"""jobs/function_calls — what running functions ask of other jobs: children, their state, their end. Of their own chute and owner alone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from agent.core.children import child_id, keyed_child_id
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Viewer
from agent.errors import AgentError, Blame
from agent.interfaces import ChuteFilesMissingError, Store
from agent.interfaces.chutes import Chutes
from agent.interfaces.job_socket import Call, CallFault, CallRefusedError
from agent.jobs.functions.cord_calls import CordCalls
from agent.jobs.intake import JOB_ID, Intake, JobFinishedError, Submission
from agent.spec import SpecRefusedError

log = structlog.get_logger()

MOST_PAYLOAD_BYTES = 1 << 20
MOST_NAME_CHARACTERS = MOST_KEY_CHARACTERS = 200
_MOST_K = 2**31
_SHOWN_FAULTS = 10
# Of those that our launcher runs, the ones that run an author's functions.
CALLERS = (Kind.FUNCTION, Kind.CORDS)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A start that is sound in itself. `cord`: the call of a cord that it is of, as the job says."""

    name: str
    payload: bytes
    id: str
    cord: str | None


@dataclass(slots=True, eq=False)
class FunctionCalls:
    """Implements `jobs.functions.Neighbours`. `write`: a job as the API's JSON of it; `ports_of`: as it shows them."""

    store: Store
    intake: Intake
    chutes: Chutes
    write: Callable[[Job], Awaitable[bytes]]
    ports_of: Callable[[Job], list[dict[str, object]]]
    cord_calls: CordCalls
    # Two starts of one job at once: the second counts the first.
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    async def start(self, job: Job, call: Call) -> str:
        asked = _read_start(job, call)
        turn = self._turns.setdefault(job.id, asyncio.Lock())
        async with turn:
            if await self._is_mine(job, asked):
                return asked.id
            return await self._accept(job, asked)

    async def status(self, job: Job, job_id: object) -> bytes | None:
        found = await self._find(job, job_id)
        return None if found is None else await self.write(found)

    async def cancel(self, job: Job, job_id: object) -> bool:
        found = await self._find(job, job_id)
        if found is None:
            return False
        try:
            await self.intake.cancel(Viewer(job.owner), found.id)
        except JobFinishedError:
            return False
        return True

    def ports(self, job: Job) -> list[dict[str, object]]:
        return self.ports_of(job)

    async def _is_mine(self, job: Job, asked: _Asked) -> bool:
        known = await self.store.get(asked.id, Viewer(job.owner))
        if known is None or known.call is None or known.call.chute != _call_of(job).chute:
            return False
        # What a call starts is its own by the id, whichever job of cords answered it.
        return asked.cord is not None or known.call.parent == job.id

    async def _accept(self, job: Job, asked: _Asked) -> str:
        # Of a call that is not under way it may be true, as of a thread that goes on behind it, or of one that a daemon before this one
        # made; its id is the same then, and for the rest it is a child.
        started = None if asked.cord is None else self.cord_calls.started(job.id, asked.cord)
        if started is None:
            await self._refuse_child(job)
            parent, depth = job.id, _call_of(job).depth + 1
        else:
            self._refuse_more_than(self.intake.current.policy.limits.children, started)
            parent, depth = None, 0
        try:
            accepted = await self.intake.accept(job.owner, await self._submission(job, asked, parent, depth))
        except AgentError as error:
            raise _refusal(error) from error
        if asked.cord is not None:
            self.cord_calls.note_start(job.id, asked.cord)
        log.info("child.started", job=job.id, child=accepted.job.id, function=asked.name)
        return accepted.job.id

    async def _refuse_child(self, job: Job) -> None:
        call, limits = _call_of(job), self.intake.current.policy.limits
        if call.depth >= limits.depth:
            words = (
                f"it would be {call.depth + 1} deep, and this host allows {limits.depth} ([jobs] max_depth)"
            )
            raise CallRefusedError(CallFault.TOO_DEEP, words)
        self._refuse_more_than(limits.children, len((await self.store.children_of([job.id]))[job.id]))

    @staticmethod
    def _refuse_more_than(most: int, started: int) -> None:
        if started >= most:
            words = f"{started} jobs were started, and this host allows a job or a call no more ([jobs] max_children)"
            raise CallRefusedError(CallFault.TOO_MANY_CHILDREN, words)

    async def _submission(self, job: Job, asked: _Asked, parent: str | None, depth: int) -> Submission:
        call = _call_of(job)
        spec = await self.chutes.compose_child(job.owner, call.version, asked.name)
        if spec is None:
            words = f"the chute {call.chute} has no job named {asked.name[:64]!a}"
            raise CallRefusedError(CallFault.UNKNOWN_FUNCTION, words)
        child = FunctionCall(call.chute, call.version, asked.name, spec.file, spec.attribute, parent, depth)
        # The id says which call it is: what its spec is composed of may have changed since, and it is the same call.
        return Submission(spec.body, Kind.FUNCTION, child, asked.payload, asked.id, digest=asked.id)

    async def _find(self, job: Job, job_id: object) -> Job | None:
        # One that is being described is of no chute yet, as all those are.
        if job.kind not in CALLERS or not isinstance(job_id, str) or not JOB_ID.fullmatch(job_id):
            return None
        found = await self.store.get(job_id.lower(), Viewer(job.owner))
        is_ours = found is not None and found.call is not None and found.call.chute == _call_of(job).chute
        return found if is_ours else None


def _call_of(job: Job) -> FunctionCall:
    assert job.call is not None  # noqa: S101 - only jobs that call a function have a socket
    return job.call


def _read_start(job: Job, call: Call) -> _Asked:
    """Raises CallRefusedError."""
    name, key, k = call.fields.get("name"), call.fields.get("key"), call.fields.get("k", 0)
    if job.kind not in CALLERS:
        raise CallRefusedError(CallFault.REFUSED, "a chute that is being described starts nothing")
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME_CHARACTERS:
        raise CallRefusedError(CallFault.BAD_CALL, "name must be a text of 1 to 200 characters")
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MOST_KEY_CHARACTERS):
        raise CallRefusedError(CallFault.BAD_CALL, "key must be null, or a text of 1 to 200 characters")
    if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k <= _MOST_K:
        raise CallRefusedError(CallFault.BAD_CALL, "k must be a whole number from 0")
    payload = call.payload or b"null"
    if not payload.startswith(b"{") and payload != b"null":
        raise CallRefusedError(CallFault.PAYLOAD_INVALID, "a payload is a JSON object, or null")
    if len(payload) > MOST_PAYLOAD_BYTES:
        raise CallRefusedError(CallFault.PAYLOAD_INVALID, f"a payload has at most {MOST_PAYLOAD_BYTES} bytes")
    cord = call.fields.get("cord") if job.kind is Kind.CORDS else None
    if cord is not None and not (isinstance(cord, str) and JOB_ID.fullmatch(cord)):
        raise CallRefusedError(CallFault.BAD_CALL, "cord must be null, or the id of the call that it is of")
    # Whatever it says, what is started is of this job's owner and chute: another's id it would only find taken.
    starter = job.id if cord is None else cord.lower()
    made = child_id(starter, name, payload, k) if key is None else keyed_child_id(starter, name, key)
    return _Asked(name, payload, made, None if cord is None else starter)


def _refusal(error: AgentError) -> CallRefusedError:
    """Whatever it is, the call is answered: one that is not would be sent again for ever."""
    if isinstance(error, SpecRefusedError):
        faults = [f"{fault.field}: {fault.message}" for fault in error.faults[:_SHOWN_FAULTS]]
        return CallRefusedError(CallFault.REFUSED, "; ".join(faults))
    # What the host can't do now it may do later; but files that somebody removed stay away.
    is_final = error.blame is Blame.USER or isinstance(error, ChuteFilesMissingError)
    fault = CallFault.REFUSED if is_final else CallFault.UNAVAILABLE
    return CallRefusedError(fault, f"{error}. {error.remedy}")
