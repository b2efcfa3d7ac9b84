"""Everything that may happen to a host, in any order: after each step the invariants hold, and in the end all jobs finish."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import looptime
import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.core.container import Container, ContainerState
from agent.core.gpus import Gpu
from agent.core.job import BootTime, Job, Outcome, StopCause
from agent.core.stop_requests import request_job_stop
from agent.errors import Phase
from tests.fakes.engine import Fate, Program, sockets_of
from tests.shell.boundaries import Boundaries
from tests.shell.truth import TruthfulEngine
from tests.shell.world import AGENT, ME, World

# I5, and what a lost answer that came just before may add.
STOP_SECONDS = 5.0
# A late start must take effect within the settle: that rule rests on time.
MOST_LATE_SECONDS = 2.5

PROGRAMS = st.sampled_from(
    [
        Program(seconds=0.2),
        Program(seconds=3),
        Program(seconds=3, code=1),
        Program(seconds=40, on_term=0),
        Program(seconds=40, code=2, on_term=None),
        Program(on_term=None),
        Program(on_term=143),
        Program(on_term=0),
    ]
)
SPECS = st.fixed_dictionaries(
    {
        "ports": st.lists(st.sampled_from(["tcp", "udp", "http"]), max_size=2).map(
            lambda protos: [{"name": f"p{n}", "port": 8080 + n, "proto": p} for n, p in enumerate(protos)]
        ),
        "gpus": st.sampled_from([0, 0, 1, 2]),
        "timeout": st.sampled_from([None, 30]),
        "grace": st.sampled_from([0, 5]),
        "priority": st.integers(0, 2),
        "retry": st.fixed_dictionaries(
            {
                "count": st.integers(0, 2),
                "backoff": st.just(1),
                "on": st.sampled_from([["failed", "lost"], ["lost"], ["failed", "lost", "timed_out"]]),
            }
        ),
    }
)


class Host(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.loop = looptime.new_event_loop(start=0, noop_cycles=2, _enabled=True)
        self.run(self._set_up())

    async def _set_up(self) -> None:
        self.world = World(20000, 20003, concurrency=3)
        self.engine = TruthfulEngine(self.world.clock, AGENT)
        self.engine.add_image("busybox")
        self.engine.on_start = self._check_start
        self.world.engine = self.engine
        self.world.firewall.bridges = self.world.engine.bridges
        self.world.gpus.gpus = (Gpu("GPU-1", "H100", 80 * 2**30), Gpu("GPU-2", "H100", 80 * 2**30))
        self.boundaries = Boundaries(self.world)
        self.boundaries.fate = self._fate
        self.fates: dict[str, Fate] = {}
        self.outcomes: dict[str, Outcome | None] = {}
        self.cancelled: dict[str, float] = {}
        self.boots = 1
        self.troubled_at = 0.0
        self.had_engine_trouble = False
        self.had_strangers = False
        await self.world.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        async def marked() -> None:
            if hasattr(self, "boundaries"):
                self.boundaries.test = asyncio.current_task()
            await work

        self.loop.run_until_complete(marked())

    # ── what may happen ──

    @rule(target=jobs, fields=SPECS, program=PROGRAMS)
    def submit(self, fields: dict[str, Any], program: Program) -> str:
        answer: list[str] = []

        async def work() -> None:
            given = {name: value for name, value in fields.items() if value is not None}
            shell, self.world.shell = self.world.shell, None
            answer.append(job_id := await self.world.submit(**given))
            self.engine.programs[job_id] = program
            self.world.shell = shell
            self._wake(job_id)

        self.run(work())
        return answer[0]

    @rule(job_id=jobs, grace=st.sampled_from([0.0, 5.0]))
    def cancel(self, job_id: str, grace: float) -> None:
        async def work() -> None:
            clock = self.world.clock
            kill_at = BootTime(clock.boot_id, clock.boot_seconds() + grace)
            self.world.store._change(
                job_id, ME, lambda job: request_job_stop(job, StopCause.CANCEL, clock.now(), kill_at)
            )
            self.cancelled.setdefault(job_id, clock.now() + grace)
            self._wake(job_id)

        self.run(work())

    @rule(index=st.integers(0, 5), code=st.sampled_from([0, 1, 137, 143]))
    def exit(self, index: int, code: int) -> None:
        self._to_a_container(index, lambda seen: self.engine.exit_now(seen.id, code))

    @rule(index=st.integers(0, 5), code=st.sampled_from([0, 137, 143]))
    def kill_from_outside(self, index: int, code: int) -> None:
        self._to_a_container(index, lambda seen: self.engine.kill_from_outside(seen.id, code))

    @rule(index=st.integers(0, 5))
    def remove_from_outside(self, index: int) -> None:
        self._to_a_container(index, lambda seen: self.engine.remove_from_outside(seen.id))

    @rule(transport=st.sampled_from(["tcp", "udp"]), port=st.integers(20000, 20003))
    def let_a_stranger_have_a_port(self, transport: str, port: int) -> None:
        """Unless a container has it: nobody can take it from one that runs."""
        wanted = (transport, "127.0.0.1", port)
        if not any(wanted in sockets_of(self.engine.boxes[seen.id].plan) for seen in self.engine.running()):
            self.had_strangers = True
            self.engine.strangers_sockets.add(wanted)

    @rule()
    def let_the_strangers_go(self) -> None:
        self.engine.strangers_sockets.clear()

    @rule(
        name=st.sampled_from(["create", "start", "kill", "remove", "find", "inspect"]),
        fate=st.sampled_from(Fate),
    )
    def lose_the_next(self, name: str, fate: Fate) -> None:
        self.fates[name] = fate

    @rule()
    def let_late_calls_take_effect(self) -> None:
        self.run(self._let_late())

    async def _let_late(self) -> None:
        if self.engine.is_up:
            self.engine.let_late_calls_take_effect()

    @precondition(lambda self: self.engine.is_up)
    @rule(code=st.sampled_from([0, 137, 143]), is_crash=st.booleans(), has_live_restore=st.booleans())
    def stop_engine(self, code: int, is_crash: bool, has_live_restore: bool) -> None:  # noqa: FBT001 - drawn, not chosen
        async def work() -> None:
            self.had_engine_trouble = True
            self.engine.live_restore = has_live_restore
            self.engine.late.clear()
            codes = {seen.id: code for seen in self.engine.running()}
            (self.engine.crash if is_crash else self.engine.stop)(codes)

        self.run(work())

    @precondition(lambda self: not self.engine.is_up)
    @rule()
    def start_engine(self) -> None:
        self.run(self._come_up())

    async def _come_up(self) -> None:
        self.engine.come_up()

    @rule(boundaries=st.integers(1, 12))
    def let_the_daemon_die_soon(self, boundaries: int) -> None:
        self.boundaries.at[self.boundaries.count + boundaries] = self.boundaries.die

    @rule()
    def restart_the_daemon(self) -> None:
        self.run(self._restart())

    async def _restart(self) -> None:
        self.troubled_at = self.world.clock.now()
        self.boundaries.is_dead = False
        await self.world.restart()

    @rule(code=st.sampled_from([0, 137, 255]))
    def reboot(self, code: int) -> None:
        async def work() -> None:
            self.had_engine_trouble = True
            await self.world.crash()
            self.boots += 1
            self.world.clock.boot_id = f"boot-{self.boots}"
            self.engine.reboot({seen.id: code for seen in self.engine.running()})
            await self._restart()

        self.run(work())

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0, 10.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(self._pass(seconds))

    async def _pass(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while (left := end - self.loop.time()) > 0.001:  # the loop cuts off what is far smaller
            await asyncio.sleep(min(left, 0.5))
            if self.boundaries.is_dead or not self.engine.is_up:
                self.troubled_at = self.world.clock.now()

    # ── what must hold ──

    @invariant()
    def nothing_is_held_twice(self) -> None:
        """I1, I2."""
        leases = [job.lease for job in self._unfinished() if job.lease]
        held = Counter([port.host_port for lease in leases for port in lease.ports])
        held.update(uuid for lease in leases for uuid in lease.gpus)
        assert not [thing for thing, times in held.items() if times > 1]

    @invariant()
    def an_outcome_never_changes(self) -> None:
        """I4."""
        for job in self.world.store.jobs():
            if job.outcome is not None:
                assert self.outcomes.setdefault(job.id, job.outcome) is job.outcome

    @invariant()
    def a_stop_request_wins_in_time(self) -> None:
        """I5, while the engine answers and there is a daemon."""
        if self.boundaries.is_dead or not self.engine.is_up:
            return
        now = self.world.clock.started + self.loop.time()
        for job in self._unfinished():
            due = max(self.cancelled.get(job.id, now), self.troubled_at) + STOP_SECONDS
            box = self._box(job)
            if job.id in self.cancelled and now > due and box is not None:
                assert box.state is not ContainerState.RUNNING, f"{job.id} runs {now - due} s too long"

    @invariant()
    def events_are_a_path(self) -> None:
        """I9."""
        self.run(self._check_events())

    async def _check_events(self) -> None:
        for job in self.world.store.jobs():
            await self.world._assert_events_are_a_path(job.id)

    def _check_start(self, container: str) -> None:
        """I7, and that an attempt starts once. Told at the next step: raised here, it would be a bug of one job's task."""
        seen = self.engine.boxes[container].seen
        if any(one.job == seen.job and one.id != container for one in self.engine.running()):
            self.world.violations.append(f"{seen.name} starts beside another of its job")
        if len(self.engine.starts) > len(set(self.engine.starts)) or self.engine.started_twice:
            self.world.violations.append(f"{seen.name} was started twice")
        job = self.world.store.peek(seen.job or "")
        plan = self.engine.boxes[container].plan
        if job is None or job.attempt != seen.attempt or job.lease is None or plan is None:
            self.world.violations.append(f"{seen.name} starts without a lease")
            return
        mine = {port.host_port for port in job.lease.ports}
        if not {port.host_port for port in plan.ports} <= mine or not set(plan.gpus) <= set(job.lease.gpus):
            self.world.violations.append(f"{seen.name} starts with a lease that is not its own any more")

    @invariant()
    def nothing_was_seen_to_be_wrong(self) -> None:
        assert self.world.violations == []

    def teardown(self) -> None:
        try:
            self.run(self._come_to_rest())
        finally:
            self.run(self.world.crash())
            self.loop.close()

    async def _come_to_rest(self) -> None:
        self.fates.clear()
        self.engine.strangers_sockets.clear()
        if not self.engine.is_up:
            self.engine.come_up()
        # A port that a stranger had is left alone for an hour, unless the daemon forgets it.
        if self.boundaries.is_dead or self.had_strangers:
            await self._restart()
        async with asyncio.timeout(3000):
            while self._unfinished():
                await self._pass(5)
                if self.boundaries.is_dead:
                    await self._restart()
                self._end_the_endless()
        self.engine.let_late_calls_take_effect()
        await self._pass(40)
        if self.boundaries.is_dead:
            await self._restart()
        await self._pass(40)
        await self.world.assert_all_is_well()
        assert self.engine.boxes == {}
        await self._assert_outcomes_are_true()

    def _end_the_endless(self) -> None:
        for seen in self.engine.running():
            if self.engine.programs[seen.job or ""].seconds is None:
                self.engine.exit_now(seen.id, 0)

    async def _assert_outcomes_are_true(self) -> None:
        for job in self.world.store.jobs():
            for closed in await self.world.store.attempts(job.id):
                death = self.engine.deaths.get((job.id, closed.number))
                if (job.id, closed.number) in self.engine.removed_by_strangers:
                    continue
                if death is None:
                    assert closed.outcome is not Outcome.SUCCEEDED
                    continue
                assert (job.id, closed.number) in self.world.folders.logs
                assert closed.exit is not None
                assert closed.exit.code == death.code
                if not self.had_engine_trouble:
                    self._assert_outcome_is_true(job, closed.outcome, death.cause, death.code)

    def _assert_outcome_is_true(self, job: Job, outcome: Outcome, cause: str, code: int) -> None:
        """Where no event was lost, nothing may be mistaken."""
        if cause == "own" and code == 0:
            assert outcome is Outcome.SUCCEEDED or job.job_stop is not None or outcome is Outcome.TIMED_OUT
        elif cause == "own":
            assert outcome in {Outcome.FAILED, Outcome.CANCELLED, Outcome.TIMED_OUT}
        elif cause == "ours":
            assert outcome in {Outcome.CANCELLED, Outcome.TIMED_OUT}
        else:
            assert outcome in {Outcome.LOST, Outcome.CANCELLED, Outcome.TIMED_OUT}

    # ── inside ──

    def _unfinished(self) -> list[Job]:
        return [job for job in self.world.store.jobs() if job.phase is not Phase.FINISHED]

    def _box(self, job: Job) -> Container | None:
        boxes = self.engine.boxes.values()
        return next((box.seen for box in boxes if box.seen.name == job.container_name), None)

    def _wake(self, job_id: str) -> None:
        if self.world.shell is not None and not self.boundaries.is_dead:
            self.world.shell.wake(job_id)

    def _to_a_container(self, index: int, act: Callable[[Container], None]) -> None:
        async def work() -> None:
            running = self.engine.running()
            if running:
                act(running[index % len(running)])

        self.run(work())

    def _fate(self, name: str, _target: str) -> Fate:
        fate = self.fates.pop(name, Fate.WORKS)
        if fate is not Fate.WORKS:
            self.troubled_at = self.world.clock.now()
        if fate is Fate.LATE and name == "start":
            self.loop.call_later(0, self._hurry)
        return fate

    def _hurry(self) -> None:
        """A late start takes effect while it may be waited for, or never."""
        late, self.engine.late = self.engine.late, []
        boot, breaks = self.boots, self.engine.is_up

        def take_effect() -> None:
            if self.engine.is_up and breaks and self.boots == boot:
                for effect in late:
                    effect()

        self.loop.call_later(MOST_LATE_SECONDS, take_effect)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Thousands of lives of a daemon are not read by anybody, and a rendered traceback costs a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def run_machine(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Host,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize="SOAK_SEED" not in os.environ,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_whatever_happens_all_jobs_finish_and_nothing_is_left() -> None:
    run_machine(examples=60, steps=30)


@pytest.mark.soak
def test_whatever_happens_for_long_all_jobs_finish_and_nothing_is_left() -> None:
    run_machine(examples=3000, steps=50)
