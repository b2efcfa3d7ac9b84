"""jobs/witness — the one event stream of all containers: what was seen of each, and who must look now. Judges nobody."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from agent.aio import Flag
from agent.core.container import Container, ContainerEvent, EngineFacts, EventKind, StreamOpened
from agent.core.exits import Sight
from agent.interfaces import (
    Clock,
    Engine,
    EngineRefusedError,
    EngineUnavailableError,
    Store,
    StoreUnavailableError,
)

log = structlog.get_logger()

# How long a death that an inspect shows may take to come by on the stream, which is in order: its kills come before it.
# Enough to open the stream first, where it is not: an engine that answers an inspect opens it at once.
DEATH_SECONDS = 3.0
# An engine that stops kills its containers first, and drops the stream when the last one is gone: 15 s at most by its own
# default (dockerd --shutdown-timeout).
BREAK_SECONDS = 20.0
# A break and a death this near to each other have one cause.
NEAR_SECONDS = 30.0
# By then what the stream replays at its opening has come.
REPLAY_SECONDS = 1.0
_RECONNECT_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class _Life:
    """What the stream told of one container. Sessions count the streams; only within one is nothing missed."""

    kills: set[float] = field(default_factory=set)
    created_in: int | None = None
    started_in: int | None = None
    died_in: int | None = None
    killed_by_newcomer: bool = False
    died: Flag = field(default_factory=Flag)


class Witness:
    """Standing task `watch`; the runner asks `sight` before it judges a death."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        clock: Clock,
        on_event: Callable[[ContainerEvent], None],
        look_at_all: Callable[[], None],
    ) -> None:
        """`on_event` wakes whom one event concerns; `look_at_all` wakes all jobs' tasks, and the janitor."""
        self._engine = engine
        self._store = store
        self._clock = clock
        self._on_event = on_event
        self._look_at_all = look_at_all
        self._lives: dict[str, _Life] = {}
        self._session = 0
        self._opened_at = 0.0
        self._opened_wall = 0.0
        self._breaks: list[float] = []
        self._broke = Flag()
        self.is_open = False
        self.facts: EngineFacts | None = None

    async def watch(self) -> None:
        """Read the stream for ever; reopen it where it breaks, with a replay that covers what was missed."""
        tries = 0
        while True:
            try:
                self.facts = await self._engine.facts()
                async with aclosing(self._engine.events(await self._since())) as events:
                    async for event in events:
                        tries = 0
                        self._take(event)
            except (EngineUnavailableError, EngineRefusedError) as error:
                self._note_break(str(error))
            except StoreUnavailableError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
            await asyncio.sleep(_RECONNECT_SECONDS[min(tries, len(_RECONNECT_SECONDS) - 1)])
            tries += 1

    async def sight(self, container: Container, foreign_before: float | None) -> Sight:
        """What was seen of a container that has exited. Waits for its death to come by.

        `foreign_before`: kills before this time (our `signalled_at`; None: all) are not ours. For those it also waits whether
        the engine goes away, since then it was the engine's doing.
        """
        life = self._lives.setdefault(container.id, _Life())
        if life.died_in is None:
            await life.died.wait(DEATH_SECONDS)
        died_at = self._clock.now() if container.finished_at is None else container.finished_at
        is_foreign = any(foreign_before is None or kill < foreign_before for kill in life.kills)
        if is_foreign and not life.killed_by_newcomer:
            await self._wait_for_break(died_at)
        session = self._session if life.died_in is None else life.died_in
        is_whole = life.started_in is not None and life.started_in == session and self._saw_the_end(life)
        engine_broke = life.killed_by_newcomer or self._broke_near(died_at)
        return Sight(tuple(sorted(life.kills)), is_whole, engine_broke)

    def knows_birth(self, container: str) -> bool | None:
        """Whether the engine that answers now is the one that made the container: it tells of its creation. None: ask again.

        One that was killed within a start may not know that it started it, and says "created" for ever.
        """
        if not self.is_open or asyncio.get_running_loop().time() < self._opened_at + REPLAY_SECONDS:
            return None
        life = self._lives.get(container)
        return life is not None and life.created_in == self._session

    def forget(self, container: str) -> None:
        """Its attempt is closed."""
        self._lives.pop(container, None)

    @property
    def has_live_restore(self) -> bool:
        """Whether the engine that answers now is known to leave its containers alone when it stops."""
        return self.is_open and self.facts is not None and self.facts.live_restore

    def outlives_engine(self, container: str) -> bool | None:
        """Whether the engine that answers now, if it stops, leaves the container alone, as did all before it. None: not known."""
        if not self.is_open or self.facts is None:
            return None
        if not self.facts.live_restore:
            return False
        life = self._lives.get(container)
        return True if life is not None and life.started_in == self._session else None

    def _is_newcomers(self, kill: ContainerEvent, life: _Life) -> bool:
        """Whether an engine did it within its own start: one without live-restore ends what the one before it left running.

        We were away too, or the break would tell; what it leaves is a kill in the replay of an engine that knows no start.
        """
        return kill.at <= self._opened_wall and life.started_in != self._session

    def _saw_the_end(self, life: _Life) -> bool:
        return life.died_in is not None or self.is_open

    async def _wait_for_break(self, died_at: float) -> None:
        left = min(BREAK_SECONDS, died_at + BREAK_SECONDS - self._clock.now())
        if left > 0 and not self._broke_near(died_at):
            self._broke.clear()
            await self._broke.wait(left)

    def _broke_near(self, died_at: float) -> bool:
        """By the time of the death: an engine that took its containers with it may be away for long before we can look."""
        return any(abs(at - died_at) <= NEAR_SECONDS for at in self._breaks)

    async def _since(self) -> float:
        """The oldest start of an unfinished row: our own absence is then no gap, as far as the engine's ring reaches."""
        started = [job.run.started_at or job.queued_at for job in await self._store.unfinished()]
        return min(started, default=self._clock.now())

    def _take(self, event: ContainerEvent | StreamOpened) -> None:
        if isinstance(event, StreamOpened):
            self._session += 1
            self._opened_at = asyncio.get_running_loop().time()
            self._opened_wall = self._clock.now()
            self.is_open = True
            # What happened while we were not connected has no event that we can trust to come: all must look.
            self._look_at_all()
            return
        life = self._lives.setdefault(event.container, _Life())
        match event.kind:
            case EventKind.CREATE:
                life.created_in = self._session
            case EventKind.START:
                life.started_in = self._session
            case EventKind.KILL:
                life.kills.add(event.at)
                life.killed_by_newcomer |= self._is_newcomers(event, life)
            case EventKind.DIE:
                life.died_in = self._session
                life.died.set()
            case EventKind.DESTROY:
                self._lives.pop(event.container, None)
        self._on_event(event)

    def _note_break(self, why: str) -> None:
        if self.is_open:
            log.warning("engine.stream_broke", error=why)
            self._breaks = [*self._breaks[-4:], self._clock.now()]
            self._broke.set()
        self.is_open = False
