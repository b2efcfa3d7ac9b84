"""The SSH servers of jobs, on fakes: one a container, whoever dies; who may log in is always who the row says."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent.core.job import Job, Viewer
from agent.core.reconcile import restore
from agent.core.ssh import SshState
from agent.core.ssh_server import PAUSES, START_SECONDS
from agent.errors import Phase
from agent.interfaces import (
    ContainerNotRunningError,
    EngineRefusedError,
    ForeignIdError,
    StateFullError,
    StoreUnavailableError,
)
from agent.jobs.ssh.server import MOST_BYTES_A_SECOND
from agent.jobs.ssh_keys import SshEndedError, SshKeys, SshNotAskedError
from agent.spec import read_public_key
from tests.fakes.engine import Fate, Program
from tests.fakes.host_keys import public_key
from tests.fakes.ssh_server import FakeSshServers
from tests.shell.world import ME, Outcome, World

pytestmark = pytest.mark.looptime

KEYS = [public_key(number).line for number in range(1, 4)]
SSH = {"authorized_keys": [KEYS[0]]}


class SshWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.servers = FakeSshServers(self.engine)

    @property
    def keys(self) -> SshKeys:
        assert self.shell is not None
        return SshKeys(self.store, self.shell.tools.ssh, self.clock)

    async def state(self, job_id: str) -> SshState:
        assert self.shell is not None
        return self.shell.tools.ssh.state_of(await self.job(job_id))

    async def until_state(self, job_id: str, state: SshState, seconds: float = 60) -> Job:
        return await self.until(job_id, lambda job: self._state(job) is state, seconds)

    def _state(self, job: Job) -> SshState | None:
        return None if self.shell is None else self.shell.tools.ssh.state_of(job)

    async def told(self, job_id: str, kind: str) -> list[dict[str, object]]:
        events = await self.store.events(ME, 0, job_id, 10_000)
        return [event.data for event in events if event.type == kind]

    def may_log_in(self, job_id: str) -> list[str]:
        return [key for key in KEYS if key in self.folders.authorized_keys.get(job_id, "")]


@pytest.fixture
async def world() -> AsyncIterator[SshWorld]:
    world = SshWorld()
    await world.start()
    yield world
    await world.crash()
    assert world.servers.most <= 1


async def test_a_job_with_ssh_has_a_server_from_its_start_to_its_end(world: SshWorld) -> None:
    world.engine.program = Program(seconds=20)
    job_id = await world.submit(ssh=SSH)
    assert await world.state(job_id) is SshState.STARTING
    job = await world.until_state(job_id, SshState.READY, 5)
    assert job.run.ssh_user == "root"
    assert [port.port for port in job.lease.ports] == [2202]
    assert world.may_log_in(job_id) == KEYS[:1]
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    assert await world.state(job_id) is SshState.ENDED
    assert (world.servers.starts, world.servers.running) == (1, 0)
    assert not world.folders.holds_secrets(job_id)


async def test_a_job_without_ssh_has_none(world: SshWorld) -> None:
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    await world.quiesce(5)
    assert world.servers.starts == 0
    assert ("look_inside", world.engine.running()[0].id) not in world.engine.calls


async def test_an_image_that_the_engine_will_not_look_into_holds_no_lease(world: SshWorld) -> None:
    world.engine.fates = _refuse_looks
    job_id = await world.submit(ssh=SSH)
    ended = await world.finish(job_id)
    assert (ended.outcome, ended.reason and ended.reason.code) == (Outcome.FAILED, "engine_refused")


def _refuse_looks(name: str, _target: str) -> Fate:
    if name == "look_inside":
        raise EngineRefusedError("the engine answered 500: too many links")
    return Fate.WORKS


async def test_a_server_that_dies_is_started_three_times_and_then_is_down_and_the_job_goes_on(
    world: SshWorld,
) -> None:
    job_id = await world.submit(ssh=SSH)
    for number in range(1, len(PAUSES) + 1):
        await world.until_state(job_id, SshState.READY)
        world.servers.kill()
        await world.until_state(job_id, SshState.STARTING)
        assert world.servers.starts == number
    await world.until_state(job_id, SshState.READY)
    world.servers.kill()
    await world.until_state(job_id, SshState.DOWN)
    await world.quiesce(60)
    assert world.servers.starts == 1 + len(PAUSES)
    assert (await world.job(job_id)).phase is Phase.RUNNING
    await world.cancel(job_id, grace=0)
    await world.finish(job_id)
    await world.quiesce(1)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == f"ssh of {job_id}"]
    states = [data["state"] for data in await world.told(job_id, "ssh.state")]
    assert states == ["ready", "starting"] * 3 + ["ready", "down"]


@pytest.mark.slow
async def test_who_brings_a_key_to_a_server_that_is_down_gets_another_try(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    world.servers.is_mute = True
    await world.until_state(job_id, SshState.DOWN, 4 * START_SECONDS + sum(PAUSES) + 5)
    world.servers.is_mute = False
    await world.keys.add(ME, job_id, {"key": KEYS[1], "expires_in": 60})
    await world.until_state(job_id, SshState.READY, 5)


@pytest.mark.slow
async def test_a_server_that_never_listens_has_died(world: SshWorld) -> None:
    world.servers.is_mute = True
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.DOWN, 4 * START_SECONDS + sum(PAUSES) + 5)
    assert world.servers.running == 0
    assert "did not listen" in str((await world.told(job_id, "ssh.state"))[-1]["why"])


async def test_the_next_daemon_starts_another_and_there_are_never_two(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    for number in range(1, 5):
        await world.until_state(job_id, SshState.READY)
        assert (world.servers.starts, world.servers.running) == (number, 1)
        await world.crash()
        assert world.servers.running == 0
        await world.start()
    assert world.servers.most == 1


async def test_an_engine_that_is_away_is_nobodys_death(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    for _ in range(6):
        await world.until_state(job_id, SshState.READY)
        world.engine.stop()
        world.engine.execs.forget()
        await world.quiesce(20)
        world.engine.come_up()
        await world.until(job_id, lambda _job: world.servers.running == 1)
    assert SshState.DOWN not in [data["state"] for data in await world.told(job_id, "ssh.state")]


async def test_nor_is_one_that_was_killed_and_answers_again_at_once(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    for number in range(1, 7):
        await world.until_state(job_id, SshState.READY)
        await world.until(job_id, lambda _job: world.servers.running == 1)
        world.engine.execs.forget()
        await world.until(job_id, lambda _job, seen=number: world.servers.starts == seen + 1, 10)
    assert {data["state"] for data in await world.told(job_id, "ssh.state")} == {"ready"}


async def test_a_lost_answer_to_its_start_makes_no_second_one(world: SshWorld) -> None:
    fates = iter([Fate.NEVER, Fate.NEVER])
    world.engine.fates = lambda name, _target: next(fates, Fate.WORKS) if name == "open_exec" else Fate.WORKS
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    assert world.servers.running == 1


async def test_a_container_that_is_paused_for_a_while_has_its_server_once_it_goes_on(world: SshWorld) -> None:
    paused_until = asyncio.get_running_loop().time() + 20

    def answer(name: str, target: str) -> Fate:
        if name == "open_exec" and asyncio.get_running_loop().time() < paused_until:
            raise ContainerNotRunningError(f"Container {target} is paused, unpause the container before exec")
        return Fate.WORKS

    world.engine.fates = answer
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    assert {data["state"] for data in await world.told(job_id, "ssh.state")} == {"ready"}


async def test_the_host_key_is_the_same_in_each_attempt(world: SshWorld) -> None:
    world.engine.program = Program(seconds=5, code=3)
    job_id = await world.submit(ssh=SSH, retry={"count": 1, "backoff": 1})
    first = await world.until_state(job_id, SshState.READY)
    mounts = [mount for box in world.engine.boxes.values() for mount in box.plan.mounts]
    second = await world.until(job_id, lambda job: job.attempt == 2 and job.phase is Phase.RUNNING)
    assert first.ssh_host_key == second.ssh_host_key
    again = [mount for box in world.engine.boxes.values() for mount in box.plan.mounts]
    assert [mount for mount in mounts if "ssh" in mount.target] == [
        mount for mount in again if "ssh" in mount.target
    ]
    await world.finish(job_id)
    assert world.servers.starts == 2


async def test_a_row_that_a_repair_made_anew_has_its_server_and_its_line_again(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    job = await world.until_state(job_id, SshState.READY)
    await world.crash()
    await _repair(world, job)
    await world.start()
    again = await world.until_state(job_id, SshState.READY)
    assert again.run.ssh_user == "root"
    assert world.servers.running == 1


async def test_a_repaired_job_that_hides_its_files_is_seen_to_run_all_the_same(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    job = await world.until_state(job_id, SshState.READY)
    await world.crash()
    await _repair(world, job)
    world.engine.fates = _refuse_looks
    await world.start()
    again = await world.until_phase(job_id, Phase.RUNNING)
    assert again.run.ssh_user is None


async def _repair(world: SshWorld, job: Job) -> None:
    (container,) = world.engine.running()
    fresh = Job(job.id, job.owner, job.kind, job.spec, job.created_at, ssh_host_key=job.ssh_host_key)
    repaired = restore(fresh, container, world.clock.boot_id)
    await world.store.save(replace(repaired, version=job.version, seq=job.seq, lease=job.lease))


# ── who may log in ──


async def test_replaced_keys_are_in_the_file_when_the_call_returns(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    await world.keys.replace(ME, job_id, {"authorized_keys": KEYS[1:]})
    assert world.may_log_in(job_id) == KEYS[1:]
    await world.restart()
    await world.until_state(job_id, SshState.READY)
    assert world.may_log_in(job_id) == KEYS[1:]


async def test_keys_that_never_end_are_written_once_however_long_the_job_runs(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    await world.quiesce(600)
    assert world.folders.key_writes == 1


async def test_keys_that_were_replaced_before_the_start_are_those_it_starts_with(world: SshWorld) -> None:
    world.settings.queue_limits = {"default": 0}
    job_id = await world.submit(ssh=SSH)
    await world.keys.replace(ME, job_id, {"authorized_keys": KEYS[1:2]})
    world.settings.queue_limits = {"default": 8}
    await world.restart()
    await world.until_state(job_id, SshState.READY)
    assert world.may_log_in(job_id) == KEYS[1:2]


async def test_a_key_with_an_expiry_is_out_of_the_file_when_its_time_has_come(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    await world.keys.add(ME, job_id, {"key": KEYS[1], "expires_in": 60})
    assert world.may_log_in(job_id) == KEYS[:2]
    await world.quiesce(59.5)
    assert world.may_log_in(job_id) == KEYS[:2]
    await world.quiesce(1)
    assert world.may_log_in(job_id) == KEYS[:1]
    assert world.servers.starts == 1


async def test_it_is_out_also_where_the_daemon_was_away_at_that_time(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    await world.keys.add(ME, job_id, {"key": KEYS[1], "expires_in": 60})
    await world.crash()
    await world.quiesce(61)
    assert world.servers.running == 0  # meanwhile nobody got in by it
    await world.start()
    await world.until_state(job_id, SshState.READY)
    assert world.may_log_in(job_id) == KEYS[:1]


async def test_a_wall_clock_that_was_set_forward_ends_a_key_soon(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    await world.keys.add(ME, job_id, {"key": KEYS[1], "expires_in": 3600})
    await world.quiesce(1)
    assert world.may_log_in(job_id) == KEYS[:2]
    world.clock.started += 7200
    await world.quiesce(31)
    assert world.may_log_in(job_id) == KEYS[:1]


async def test_while_keys_can_not_be_written_nobody_comes_in(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    await world.keys.add(ME, job_id, {"key": KEYS[1], "expires_in": 60})
    keep = world.folders.keep_authorized_keys

    async def full(_job_id: str, _text: str) -> None:
        raise StateFullError("no space is left")

    for _ in range(2 + len(PAUSES)):
        world.folders.keep_authorized_keys = full
        await world.quiesce(65)
        assert world.servers.running == 0
        assert await world.state(job_id) is SshState.STARTING
        world.folders.keep_authorized_keys = keep
        await world.until_state(job_id, SshState.READY, 10)
        assert world.may_log_in(job_id) == KEYS[:1]
        await world.keys.add(ME, job_id, {"key": KEYS[1], "expires_in": 60})
    assert SshState.DOWN not in [data["state"] for data in await world.told(job_id, "ssh.state")]


async def test_a_key_that_could_not_be_taken_out_of_the_file_lets_nobody_in(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    keep = world.folders.keep_authorized_keys

    async def full(_job_id: str, _text: str) -> None:
        raise StateFullError("no space is left")

    world.folders.keep_authorized_keys = full
    with pytest.raises(StateFullError):
        await world.keys.replace(ME, job_id, {"authorized_keys": KEYS[1:]})
    await world.quiesce(1)
    assert world.servers.running == 0
    world.folders.keep_authorized_keys = keep
    await world.until_state(job_id, SshState.READY, 10)
    assert world.may_log_in(job_id) == KEYS[1:]


async def test_nobody_brings_keys_to_a_job_of_another_or_without_ssh_or_over(world: SshWorld) -> None:
    world.engine.program = Program(seconds=5)
    job_id = await world.submit(ssh=SSH)
    body = {"authorized_keys": KEYS[1:]}
    with pytest.raises(ForeignIdError):
        await world.keys.replace(Viewer("mallory"), job_id, body)
    assert world.may_log_in(job_id) in ([], KEYS[:1])
    plain = await world.submit()
    with pytest.raises(SshNotAskedError):
        await world.keys.replace(ME, plain, body)
    await world.finish(job_id)
    with pytest.raises(SshEndedError):
        await world.keys.replace(ME, job_id, body)
    assert not world.folders.authorized_keys


# ── what is told ──


async def is_down(_step: str) -> None:
    raise StoreUnavailableError("the database is locked")


async def test_who_came_in_and_left_is_told_with_his_key_and_who_brought_it(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    await world.keys.add(Viewer("helper", sees_all=True), job_id, {"key": KEYS[1], "expires_in": 60})
    await world.servers.log_in(read_public_key(KEYS[1]).fingerprint)
    await world.servers.log_out()
    await world.quiesce(1)
    (opened,) = await world.told(job_id, "ssh.opened")
    assert opened["by"] == "helper"
    assert opened["fingerprint"] == read_public_key(KEYS[1]).fingerprint
    assert (opened["user"], opened["address"]) == ("root", "192.0.2.7:4242")
    assert len(await world.told(job_id, "ssh.closed")) == 1
    assert [data["by"] for data in await world.told(job_id, "ssh.keys")] == ["helper"]


async def test_a_login_that_can_not_be_told_at_once_is_told_later(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    healthy, world.store.before = world.store.before, is_down
    await world.servers.log_in(read_public_key(KEYS[0]).fingerprint)
    await world.quiesce(30)
    world.store.before = healthy
    await world.quiesce(5)
    assert len(await world.told(job_id, "ssh.opened")) == 1


async def test_a_job_that_floods_the_servers_words_is_not_a_flood_of_events(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    for number in range(1000):
        await world.servers.log_in(read_public_key(KEYS[0]).fingerprint, number)
    await world.quiesce(2)
    told = await world.told(job_id, "ssh.opened")
    assert 60 <= len(told) <= 65
    await world.servers.log_in(read_public_key(KEYS[0]).fingerprint, 5000)
    await world.quiesce(1)
    last = (await world.told(job_id, "ssh.opened"))[-1]
    assert last["session"] == 5000
    assert sum(int(str(data["missed"])) for data in await world.told(job_id, "ssh.opened")) > 900


async def test_a_job_that_writes_without_end_into_the_servers_output_is_read_slowly(world: SshWorld) -> None:
    job_id = await world.submit(ssh=SSH)
    await world.until_state(job_id, SshState.READY)
    flood = asyncio.create_task(world.servers.say("x" * 10 * MOST_BYTES_A_SECOND))
    await world.quiesce(5)
    assert not flood.done()  # it waits in its own pipe
    await world.quiesce(8)
    assert flood.done()
    await world.servers.log_in(read_public_key(KEYS[0]).fingerprint)
    await world.quiesce(3)
    assert len(await world.told(job_id, "ssh.opened")) == 1


# ── images that nobody could log in to ──


@pytest.mark.parametrize("missing", ["/etc/passwd", "/bin/sh"])
async def test_an_image_without_passwd_or_shell_is_refused_before_it_runs(
    world: SshWorld, missing: str
) -> None:
    del world.engine.files[missing]
    job = await world.finish(await world.submit(ssh=SSH, retry={"count": 3}))
    assert (job.outcome, job.reason.code) == (Outcome.FAILED, "ssh_unsupported_image")
    assert missing in job.reason.message
    assert world.engine.starts == []
    assert job.attempt == 1
    await world.quiesce(10)
    assert world.engine.boxes == {}


async def test_the_kit_that_went_after_the_submit_is_the_hosts_fault(world: SshWorld) -> None:
    world.ssh_kits.builds = 0
    job = await world.finish(await world.submit(ssh=SSH))
    assert (job.reason.code, job.reason.blame) == ("ssh_kit_missing", "host")
    assert world.engine.starts == []


async def test_an_engine_that_maps_users_is_the_hosts_fault(world: SshWorld) -> None:
    world.engine.userns = True
    job = await world.finish(await world.submit(ssh=SSH))
    assert (job.reason.code, job.reason.blame) == ("ssh_unsupported_host", "host")
    assert (await world.finish(await world.submit(command=["true"], timeout=30))).reason.code == "timeout"
