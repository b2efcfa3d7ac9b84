"""The store on disk and its twin in memory, driven through the same random calls, answer the same to each."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.adapters.sqlite import SqliteStore
from agent.core.function import FunctionCall
from agent.core.job import Job, NewEvent, Viewer
from agent.errors import AgentError, Phase
from agent.interfaces import JobQuery, StaleError
from tests.contract.store_values import PLENTY, TestedStore, closed, request, told
from tests.fakes.store import MemoryStore
from tests.tries import tries

OWNERS = st.sampled_from(["ann", "bob"])
IDS = st.sampled_from(["a1", "a2", "b1", "b2", "c"])
KEYS = st.sampled_from([None, "k1", "k2"])
BODIES = st.sampled_from(["x", "x", "y"])
LABELS = st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from(["1", "2"]))
VIEWERS = st.builds(Viewer, OWNERS, st.booleans(), st.booleans())
PHASES = st.sampled_from(Phase)
EVENTS = st.lists(st.builds(told, st.sampled_from(["p", "q"])), max_size=3)
QUERIES = st.builds(
    JobQuery,
    phases=st.lists(PHASES, max_size=2, unique=True).map(tuple),
    queue=st.sampled_from([None, None, "default", "slow"]),
    labels=LABELS.map(lambda labels: tuple(labels.items())),
    id_prefix=st.sampled_from([None, None, "a", "b1", "z"]),
    before_seq=st.none() | st.integers(0, 12),
    limit=st.integers(1, 4),
)


class Twins(RuleBasedStateMachine):
    """Each rule makes one call on both. A refusal is an answer too."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.time = 100.0
        self.memory = MemoryStore(lambda: self.time)
        self.disk = self.loop.run_until_complete(self.open())
        self.woken = {"memory": 0, "disk": 0}
        self.listen()
        self.held: list[Job] = []  # rows as somebody read them once: some are stale by now

    async def open(self) -> SqliteStore:
        return await SqliteStore.open_store(self.folder / "agent.db", lambda: self.time)

    def listen(self) -> None:
        self.memory.listeners.clear()
        self.memory.on_events(lambda: self.wake("memory"))
        self.disk.on_events(lambda: self.wake("disk"))

    def wake(self, name: str) -> None:
        self.woken[name] += 1

    def teardown(self) -> None:
        self.loop.run_until_complete(self.disk.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[TestedStore], Awaitable[object]]) -> object:
        self.time += 1.0
        expected = self.loop.run_until_complete(answer(call(self.memory)))
        assert self.loop.run_until_complete(answer(call(self.disk))) == expected
        return expected

    @rule(job=IDS, owner=OWNERS, key=KEYS, body=BODIES, labels=LABELS, most=st.integers(1, 4))
    def accept(
        self, *, job: str, owner: str, key: str | None, body: str, labels: dict[str, str], most: int
    ) -> None:
        queue = "slow" if "tier" in labels else "default"
        new = request(job, owner, key=key, body=body, at=self.time, labels=labels, queue=queue)
        self.both(lambda store: store.accept(new, most))

    @rule(job=IDS, parent=IDS, owner=OWNERS)
    def accept_a_child(self, *, job: str, parent: str, owner: str) -> None:
        # Only of one that is older, as all children are: rows that name each other are another test's.
        call = FunctionCall("trainer", "v1", "step", "main.py", parent=min(job, parent))
        call = call if parent < job else replace(call, parent=None)
        new = request(job, owner, body="child", at=self.time, call=call)
        self.both(lambda store: store.accept(new, PLENTY))

    @rule(
        job=IDS,
        viewer=VIEWERS,
        limit=st.integers(1, 3),
        moves=st.integers(0, 1),
        ends=st.booleans(),
        events=EVENTS,
    )
    def change_family(
        self, *, job: str, viewer: Viewer, limit: int, moves: int, ends: bool, events: list[NewEvent]
    ) -> None:
        def decide(first: Job, below: Sequence[Job]) -> list[tuple[Job, Sequence[NewEvent]]]:
            def change(row: Job) -> Job:
                ended = row.starts_no_more or ends
                return replace(row, port_moves=row.port_moves + moves, starts_no_more=ended)

            return [(change(row), events) for row in (first, *below)]

        self.both(lambda store: store.family(job, viewer, limit))
        self.both(lambda store: store.change_family(job, viewer, decide))

    @rule(owner=OWNERS, key=st.sampled_from(["k1", "k2"]), body=BODIES)
    def ask_for_a_key(self, owner: str, key: str, body: str) -> None:
        self.both(lambda store: store.accepted_before(owner, key, body))

    @rule(job=IDS)
    def hold(self, job: str) -> None:
        row = self.both(lambda store: store.read(job))
        if isinstance(row, Job):
            self.held.append(row)

    @rule(data=st.data(), phase=PHASES, events=EVENTS, number=st.none() | st.integers(1, 2))
    def save(self, data: st.DataObject, phase: Phase, events: list[NewEvent], number: int | None) -> None:
        if not self.held:
            return
        row = data.draw(st.sampled_from(self.held))
        ended = self.time if phase is Phase.FINISHED else None
        changed = replace(row, phase=phase, finished_at=ended)
        attempt = None if number is None else closed(number)
        written = self.both(lambda store: store.save(changed, events, attempt))
        if isinstance(written, Job):
            self.held.append(written)

    @rule(job=IDS, viewer=VIEWERS, moves=st.integers(0, 1), events=EVENTS)
    def change(self, job: str, viewer: Viewer, moves: int, events: list[NewEvent]) -> None:
        def decide(row: Job) -> tuple[Job, Sequence[NewEvent]]:
            return replace(row, port_moves=row.port_moves + moves), events

        self.both(lambda store: store.change(job, viewer, decide))

    @rule(every=st.integers(1, 3), stale=st.integers(0, 5), events=EVENTS)
    def grant(self, every: int, stale: int, events: list[NewEvent]) -> None:
        def choose(jobs: Sequence[Job]) -> list[tuple[Job, Sequence[NewEvent]]]:
            chosen = [replace(job, phase=Phase.STARTING) for job in jobs[::every]]
            if stale == 1 and chosen:
                chosen[-1] = replace(chosen[-1], version=chosen[-1].version + 7)
            return [(job, events) for job in chosen]

        self.both(lambda store: store.grant(choose))

    @rule(job=IDS)
    def append(self, job: str) -> None:
        self.both(lambda store: store.append_event(job, told("progress")))

    @rule(job=IDS, viewer=VIEWERS)
    def forget(self, job: str, viewer: Viewer) -> None:
        self.both(lambda store: store.forget(job, viewer))

    @rule(job=IDS, events=EVENTS, of_host=EVENTS, health=st.sampled_from(["{}", "[]"]))
    def keep_a_gpu(self, job: str, events: list[NewEvent], of_host: list[NewEvent], health: str) -> None:
        def decide(row: Job) -> tuple[Job, Sequence[NewEvent]]:
            return replace(row, gpu_moves=row.gpu_moves + 1), events

        self.both(lambda store: store.keep_gpu_healths({"GPU-1": health}, [(job, decide)], of_host))
        self.both(lambda store: store.gpu_healths())

    @rule(query=QUERIES, viewer=VIEWERS)
    def page(self, query: JobQuery, viewer: Viewer) -> None:
        self.both(lambda store: store.page(query, viewer))

    @rule(viewer=VIEWERS, after=st.integers(0, 20), job=st.none() | IDS, limit=st.integers(1, 6))
    def follow(self, viewer: Viewer, after: int, job: str | None, limit: int) -> None:
        self.both(lambda store: store.events(viewer, after, job, limit))

    @rule(job=IDS, viewer=VIEWERS, at=st.integers(100, 140))
    def look(self, job: str, viewer: Viewer, at: int) -> None:
        self.both(lambda store: store.get(job, viewer))
        self.both(lambda store: store.attempts(job))
        self.both(lambda store: store.attempts_of([job, "a"]))
        self.both(lambda store: store.finished_before(at, 2))

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.disk.close())
        self.disk = self.loop.run_until_complete(self.open())
        self.listen()

    @invariant()
    def all_is_the_same(self) -> None:
        root = Viewer("root", sees_all=True, sees_host=True)
        self.both(lambda store: store.unfinished())
        self.both(lambda store: store.job_ids())
        self.both(lambda store: store.last_event_seq())
        self.both(lambda store: store.counts(["default"]))
        assert self.woken["memory"] == self.woken["disk"]
        events = self.loop.run_until_complete(self.disk.events(root, 0, None, PLENTY))
        assert [event.seq for event in events] == sorted({event.seq for event in events})
        numbers: dict[str, list[int]] = {}
        for event in events:
            assert (event.job is None) == (event.n is None) == (event.owner is None)
            if event.job is not None and event.n is not None:
                numbers.setdefault(event.job, []).append(event.n)
        assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


async def answer(call: Awaitable[object]) -> object:
    try:
        return await call
    except (AgentError, StaleError) as error:
        return (type(error), str(error))


TestTwins = Twins.TestCase
TestTwins.settings = settings(
    max_examples=tries(40),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
