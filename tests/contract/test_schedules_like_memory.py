"""Schedules in the store on disk and in its twin in memory, driven through the same random calls: made, fired, paused, deployed, removed."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.adapters.sqlite import SqliteStore
from agent.core.chute import Described
from agent.core.job import NewEvent, Viewer
from agent.core.schedule import Due, Firing, Schedule, pause, resume, skip
from agent.errors import Phase
from agent.interfaces import JobQuery, ScheduleQuery
from tests.contract.store_values import ROOT, TestedStore
from tests.contract.test_sqlite_like_memory import answer
from tests.contract.test_store_chutes import version
from tests.contract.test_store_schedules import a_firing_job, a_schedule
from tests.fakes.store import MemoryStore
from tests.tries import tries
from tests.unit.chute_values import a_job, good

OWNERS = st.sampled_from(["ann", "bob"])
NUMBERS = st.integers(1, 4)
VIEWERS = st.builds(Viewer, OWNERS, st.booleans())
CRONS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, "@daily", "@hourly"]), min_size=1)


class Twins(RuleBasedStateMachine):
    """Each rule makes one call on both. A refusal is an answer too. `held`: rows as somebody read them once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.time = 100.0
        self.memory = MemoryStore(lambda: self.time)
        self.disk = self.loop.run_until_complete(
            SqliteStore.open_store(self.folder / "agent.db", lambda: self.time)
        )
        self.held: list[Schedule] = []
        self.versions = self.jobs = 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self.disk.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[TestedStore], Awaitable[object]]) -> object:
        self.time += 1.0
        expected = self.loop.run_until_complete(answer(call(self.memory)))
        assert self.loop.run_until_complete(answer(call(self.disk))) == expected
        return expected

    @rule(number=NUMBERS, owner=OWNERS, name=st.sampled_from(["x", "y"]))
    def add(self, number: int, owner: str, name: str) -> None:
        ids = {schedule.id for schedule in self.memory._schedules.values()}
        if a_schedule(number).id not in ids:
            self.both(lambda store: store.add_schedule(a_schedule(number, owner, name)))

    @rule()
    def hold(self) -> None:
        self.held += self.loop.run_until_complete(self.disk.schedules(ScheduleQuery(), ROOT))

    @rule(
        data=st.data(),
        due=st.none() | st.integers(2, 9).map(lambda hours: hours * 3600.0),
        most=st.integers(0, 5),
    )
    def fire(self, data: st.DataObject, due: float | None, most: int) -> None:
        if self.held:
            row = data.draw(st.sampled_from(self.held))
            self.jobs += 1
            new = a_firing_job(row, Firing(row.id, due, row.version, row.seq), f"j{self.jobs % 5}")
            self.both(lambda store: store.accept(new, most))

    @rule(data=st.data(), viewer=VIEWERS, act=st.sampled_from(["pause", "resume", "skip"]))
    def change(self, data: st.DataObject, viewer: Viewer, act: str) -> None:
        def decide(found: Schedule) -> tuple[Schedule, Mapping[str, NewEvent]]:
            skipped = skip(found, Due(found.since + 60), "j1"), {"j1": NewEvent("schedule.skipped", {})}
            return {"pause": (pause(found), {}), "resume": (resume(found, 500.0), {}), "skip": skipped}[act]

        if self.held:
            row = data.draw(st.sampled_from(self.held))
            self.both(lambda store: store.change_schedule(row.id, viewer, decide))

    @rule(data=st.data(), viewer=VIEWERS)
    def remove(self, data: st.DataObject, viewer: Viewer) -> None:
        if self.held:
            row = data.draw(st.sampled_from(self.held))
            self.both(lambda store: store.remove_schedule(row.id, viewer))

    @rule(owner=OWNERS, crons=CRONS)
    def deploy(self, owner: str, crons: dict[str, str | None]) -> None:
        self.versions += 1
        described = Described(good(*(a_job(name, schedule=cron) for name, cron in crons.items())))
        fresh = version(self.versions, owner)
        self.both(lambda store: store.add_version(fresh))
        self.both(lambda store: store.settle_version(fresh.id, described))

    @rule(owner=OWNERS)
    def remove_chute(self, owner: str) -> None:
        chute = self.loop.run_until_complete(self.disk.chute("trainer", Viewer(owner)))
        if chute is not None:
            self.both(lambda store: store.remove_chute(chute))

    @rule(number=st.integers(0, 4))
    def end_a_job(self, number: int) -> None:
        job = self.memory.peek(f"j{number}")
        if job is not None:
            ended = replace(job, phase=Phase.FINISHED, finished_at=self.time)
            self.both(lambda store: store.save(ended))
            self.both(lambda store: store.forget(ended.id, ROOT))

    @rule(viewer=VIEWERS, before=st.none() | st.integers(0, 9), limit=st.integers(1, 3))
    def page(self, viewer: Viewer, before: int | None, limit: int) -> None:
        query = ScheduleQuery(before_seq=before, limit=limit)
        self.both(lambda store: store.schedules(query, viewer))

    @rule(viewer=VIEWERS, name=st.sampled_from(["x", "y", "trainer/a"]))
    def named(self, viewer: Viewer, name: str) -> None:
        self.both(lambda store: store.schedules(ScheduleQuery(name=name), viewer))

    @rule(data=st.data(), viewer=VIEWERS)
    def jobs_of(self, data: st.DataObject, viewer: Viewer) -> None:
        if self.held:
            row = data.draw(st.sampled_from(self.held))
            self.both(lambda store: store.page(JobQuery(schedule=row.id), viewer))
            self.both(lambda store: store.unfinished_of_schedule(row.id))

    @invariant()
    def all_is_the_same(self) -> None:
        self.both(lambda store: store.schedules(ScheduleQuery(limit=99), ROOT))
        self.both(lambda store: store.schedule_ids())
        self.both(sorted_timed)
        self.both(lambda store: store.unfinished())


async def sorted_timed(store: TestedStore) -> object:
    return sorted(await store.timed_schedules(), key=lambda timed: timed.id)


TestTwins = Twins.TestCase
TestTwins.settings = settings(
    max_examples=tries(40),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
