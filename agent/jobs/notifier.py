"""jobs/notifier — tells the endpoints of jobs what happens to them, at least once and in order. Holds no job back, and writes no job's row.

All that is kept is each job's cursor over its own events (`core/notify`): a restart goes on behind it. What was on its way when the
daemon died is sent again, under the same id.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import structlog

from agent.aio import Flag, spawn
from agent.core.job import Event
from agent.core.notify import (
    Decision,
    NotifyEnd,
    NotifyState,
    Tried,
    decide,
    end_without_target,
    is_delivered,
)
from agent.core.outgoing import Reply, Unsent
from agent.core.webhook import message_body, message_id, sign
from agent.errors import AgentError
from agent.interfaces import Clock, Folders, Outgoing, OutgoingRequest, Store
from agent.jobs.turns import Turns
from agent.spec import WebUrl, read_url

log = structlog.get_logger()

# Long enough for an endpoint that does its work before it answers; Standard Webhooks advises 15 to 30.
SEND_SECONDS = 15.0
# Events come in crowds: one look serves all of so long.
GATHER_SECONDS = 0.1
LOOK_SECONDS = 60.0
# At a start there may be a day's worth of them.
STARTS_A_SECOND = 1000
# After the state folder failed; and after a mistake of ours in one job's notifications.
RETRY_SECONDS, BROKEN_SECONDS = 5.0, 60.0


@dataclass(slots=True)
class _Drive:
    """A job with something to tell. While it waits it is a timer and no task: an endpoint that is down for a day may be many jobs'."""

    timer: asyncio.TimerHandle | None = None
    is_poked: bool = False
    endpoint: str = ""
    failures: int = 0  # of the event that is next


class Notifier:
    """Standing task `notify`: one drive a job that has something to tell, for as long as it has."""

    def __init__(
        self, outgoing: Outgoing, store: Store, folders: Folders, clock: Clock, random: Callable[[], float]
    ) -> None:
        self._outgoing = outgoing
        self._store = store
        self._folders = folders
        self._clock = clock
        self._random = random
        self._turns = Turns()
        self._drives: dict[str, _Drive] = {}
        self._flag = Flag()
        store.on_events(self._flag.set)

    async def notify(self) -> None:
        """Go on with every open job; then with each that has a new event to tell."""
        async with asyncio.TaskGroup() as group:
            try:
                await self._go_on(group)
            finally:
                for drive in self._drives.values():
                    if drive.timer is not None:
                        drive.timer.cancel()  # or it would wake into a group that ends

    async def _go_on(self, group: asyncio.TaskGroup) -> None:
        job_ids, seq = await self._look(self._store.notify_open)
        for place, job_id in enumerate(job_ids):
            self._rest(job_id, self._drives.setdefault(job_id, _Drive()), place // STARTS_A_SECOND, group)
        while True:
            self._flag.clear()
            job_ids, seq = await self._look(partial(self._store.notify_since, seq))
            for job_id in job_ids:
                self._poke(job_id, group)
            await self._flag.wait(LOOK_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)

    @property
    def failing(self) -> tuple[int, int]:
        """How many jobs' notifications fail just now, and how many endpoints these are: for /health."""
        endpoints = [drive.endpoint for drive in self._drives.values() if drive.failures]
        return len(endpoints), len(set(endpoints))

    @property
    def waiting(self) -> int:
        """How many jobs have something to tell that was not told yet."""
        return len(self._drives)

    async def _look(self, look: Callable[[], Awaitable[tuple[list[str], int]]]) -> tuple[list[str], int]:
        while True:
            try:
                return await look()
            except AgentError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    def _poke(self, job_id: str, group: asyncio.TaskGroup) -> None:
        drive = self._drives.get(job_id)
        if drive is None:
            self._drives[job_id] = drive = _Drive()
            spawn(group, self._drive(job_id, drive, group), f"notify {job_id}")
        drive.is_poked = True

    def _rest(self, job_id: str, drive: _Drive, seconds: float, group: asyncio.TaskGroup) -> None:
        def wake() -> None:
            drive.timer = None
            spawn(group, self._drive(job_id, drive, group), f"notify {job_id}")

        drive.timer = asyncio.get_running_loop().call_later(seconds, wake)

    async def _drive(self, job_id: str, drive: _Drive, group: asyncio.TaskGroup) -> None:
        with structlog.contextvars.bound_contextvars(job=job_id):
            while True:
                drive.is_poked = False
                pause = await self._step_or_put_off(job_id, drive)
                if pause is None and not drive.is_poked:
                    del self._drives[job_id]
                    return
                if pause:
                    self._rest(job_id, drive, pause, group)
                    return

    async def _step_or_put_off(self, job_id: str, drive: _Drive) -> float | None:
        try:
            return await self._step(job_id, drive)
        except AgentError as error:
            log.warning("notify.put_off", code=error.code, error=str(error))
            return RETRY_SECONDS
        except Exception:
            # The top of the task: a mistake of ours in one job's notifications ends neither the daemon nor others'.
            log.exception("notify.broke")
            drive.failures += 1
            return BROKEN_SECONDS

    async def _step(self, job_id: str, drive: _Drive) -> float | None:
        """Tell the next event. Returns in how many seconds to come again; None: there is nothing to tell now."""
        notice = await self._store.notice(job_id)
        if notice is None:
            return None
        if notice.event is None:
            if notice.is_over:
                await self._end(job_id, notice.row, replace(notice.state, end=NotifyEnd.COMPLETE))
            return None
        target = await self._folders.notify_target(job_id)
        if target is None:
            lost = end_without_target(notice.state, notice.event, self._clock.now())
            await self._end(job_id, notice.row, lost)
            return None
        url = read_url(target.url)
        drive.endpoint = url.origin
        outcome = await self._send(notice.owner, notice.event, url, target.secret)
        tried = Tried(self._clock.now(), drive.failures, self._random())
        decision = decide(notice.state, notice.event, outcome, tried)
        _log(notice.event, outcome, decision, drive)
        drive.failures = 0 if decision.again_after is None else drive.failures + 1
        return await self._keep(job_id, notice.row, decision)

    async def _send(self, owner: str, event: Event, url: WebUrl, secret: str) -> Reply | Unsent:
        body = message_body(event)
        async with self._turns.turn(owner, url.origin):
            # Signed when it is its turn: a receiver refuses what was signed long ago.
            signed = sign(secret, message_id(event), int(self._clock.now()), body)
            headers = {"Content-Type": "application/json", **signed}
            return await self._outgoing.send(OutgoingRequest("POST", url, headers, body, SEND_SECONDS))

    async def _keep(self, job_id: str, row: int, decision: Decision) -> float | None:
        state = decision.state
        if state.end is None:
            await self._store.keep_notify(row, state)
            return decision.again_after or 0.0
        # Without the end first: what a crash leaves before the secret is dropped must be open, or nobody drops it.
        await self._store.keep_notify(row, replace(state, end=None))
        await self._end(job_id, row, state)
        return None

    async def _end(self, job_id: str, row: int, state: NotifyState) -> None:
        notice = await self._store.notice(job_id)
        if notice is None or notice.row != row:
            return  # forgotten meanwhile; what is there by that name now is another job's
        await self._folders.drop_notify_target(job_id)
        await self._store.keep_notify(row, state)
        log.info("notify.ended", end=state.end, delivered=state.delivered, dropped=state.dropped)


def _log(event: Event, outcome: Reply | Unsent, decision: Decision, drive: _Drive) -> None:
    """A line for each failure. Of the endpoint without its path and query, which may be what opens it."""
    if isinstance(outcome, Reply) and is_delivered(outcome):
        log.debug("notify.delivered", n=event.n)
        return
    why = f"HTTP {outcome.status}" if isinstance(outcome, Reply) else f"{outcome.trouble}: {outcome.detail}"
    again = decision.again_after
    log.warning(
        "notify.given_up" if again is None else "notify.failed",
        n=event.n,
        endpoint=drive.endpoint,
        why=why,
        failures=drive.failures + 1,
        again_in=again and round(again, 1),
    )
