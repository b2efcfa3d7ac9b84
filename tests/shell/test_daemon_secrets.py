"""A job's secrets in what others say: hidden from its acceptance until they are dropped. And no folder is left without a row."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.core.container import Credentials
from agent.core.job import FailureKind, StartFailure, Viewer
from agent.daemon.serve import hide_secrets
from agent.interfaces import PullFailedError, SecretFiles
from agent.jobs.hiding import Hiding
from agent.log import MARK, Redactor
from tests.fakes.engine import Program
from tests.shell.api_world import ApiWorld, api_world
from tests.shell.world import Phase, World

ME = Viewer("alice")
SECRET = "correct horse battery"
BODY = {"image": "busybox", "secrets": {"KEY": SECRET}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


def is_hidden(world: ApiWorld) -> bool:
    return SECRET not in world.intake.hiding.hide(f"said {SECRET} aloud")


async def folders_of(world: ApiWorld) -> set[str]:
    return await world.folders.ids()


async def test_an_accepted_jobs_secrets_are_hidden_and_those_of_a_refused_one_are_forgotten(
    world: ApiWorld,
) -> None:
    await world.intake.submit(ME, BODY)
    assert is_hidden(world)


async def test_a_replay_leaves_neither_a_folder_nor_a_hidden_value(world: ApiWorld) -> None:
    first = await world.intake.submit(ME, BODY, key="once")
    world.intake.hiding.drop(first.job.id)
    assert (await world.intake.submit(ME, BODY, key="once")).is_replay
    assert not is_hidden(world)
    assert await folders_of(world) == {first.job.id}


async def test_a_replay_of_a_job_whose_folder_is_lost_makes_no_new_one(world: ApiWorld) -> None:
    first = await world.intake.submit(ME, BODY)
    await world.folders.remove(first.job.id)
    assert (await world.intake.submit(ME, BODY, job_id=first.job.id)).is_replay
    assert await folders_of(world) == set()


async def test_a_submit_that_is_cut_off_leaves_nothing(world: ApiWorld) -> None:
    reached = asyncio.Event()

    async def hang(step: str) -> None:
        if step == "accept":
            reached.set()
            await asyncio.Event().wait()

    world.store.before = hang
    submit = asyncio.ensure_future(world.intake.submit(ME, BODY))
    await reached.wait()
    submit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submit
    assert await folders_of(world) == set()
    assert not is_hidden(world)


async def test_the_secrets_of_jobs_that_an_earlier_daemon_accepted_are_hidden_at_the_start(
    world: ApiWorld,
) -> None:
    await world.intake.submit(ME, BODY)
    over = await world.intake.submit(ME, {**BODY, "secrets": {"KEY": "another secret"}})
    await world.finish(over.job.id)
    lost = await world.intake.submit(ME, BODY)
    await world.folders.drop_secrets(lost.job.id)
    hiding = Hiding(Redactor())
    await hide_secrets(world.store, world.folders, hiding)
    assert hiding.hide(f"{SECRET}, another secret") == f"{MARK}, another secret"


async def test_a_job_whose_secrets_are_damaged_keeps_no_daemon_from_starting(world: ApiWorld) -> None:
    registry = {"username": "me", "password": "pass-word-1"}
    damaged = await world.intake.submit(ME, {**BODY, "registry": registry})
    (world.state / "jobs" / damaged.job.id / "secrets" / "registry.json").write_bytes(b"")
    unreadable = await world.intake.submit(ME, BODY)
    (world.state / "jobs" / unreadable.job.id / "secrets" / "env").rename(world.state / "env")
    (
        world.state / "jobs" / unreadable.job.id / "secrets" / "env"
    ).touch()  # as of a disk that is: no folder any more
    await world.intake.submit(ME, {**BODY, "secrets": {"KEY": "another secret"}})
    hiding = Hiding(Redactor())
    await hide_secrets(world.store, world.folders, hiding)
    assert hiding.hide("another secret") == MARK


def test_two_jobs_with_one_secret_hide_it_until_the_last_has_dropped_it() -> None:
    hiding = Hiding(Redactor())
    secrets = SecretFiles({"A": SECRET, "EMPTY": ""}, Credentials("me", "pass-word-1"))
    hiding.add("one", secrets)
    hiding.add("one", secrets)
    hiding.add("two", SecretFiles({"B": SECRET}))
    assert hiding.hide(f"{SECRET} pass-word-1") == f"{MARK} {MARK}"
    hiding.drop("one")
    assert hiding.hide(f"{SECRET} pass-word-1") == f"{MARK} pass-word-1"
    hiding.drop("two")
    hiding.drop("two")
    assert hiding.hide(SECRET) == SECRET


@pytest.mark.looptime
async def test_what_a_registry_or_an_engine_repeats_of_a_secret_is_not_in_the_reason() -> None:
    world = World()
    world.engine.registry["broken"] = PullFailedError("image_denied", f"denied: {SECRET} is wrong")
    await world.start()
    assert world.shell is not None
    job_id = await world.submit(image="broken")
    world.shell.tools.hiding.add(job_id, SecretFiles({}, Credentials("me", SECRET)))
    refused = await world.finish(job_id)
    failure = StartFailure(FailureKind.ENGINE, "engine_refused", f"bad option {SECRET}")
    world.engine.start_failures.extend([failure, failure])  # it is asked once more
    other = await world.submit()
    world.shell.tools.hiding.add(other, SecretFiles({"KEY": SECRET}))
    failed = await world.finish(other)
    assert refused.reason is not None
    assert failed.reason is not None
    assert refused.reason.message == f"denied: {MARK} is wrong"
    assert failed.reason.message == f"bad option {MARK}"
    await world.crash()


@pytest.mark.looptime
async def test_when_its_job_is_finished_a_value_is_hidden_no_more() -> None:
    world = World()
    world.engine.program = Program(seconds=1)
    await world.start()
    assert world.shell is not None
    job_id = await world.submit()
    world.shell.tools.hiding.add(job_id, SecretFiles({"KEY": SECRET}))
    await world.until_phase(job_id, Phase.RUNNING)
    assert world.shell.tools.hiding.hide(SECRET) == MARK
    await world.finish(job_id)
    assert world.shell.tools.hiding.hide(SECRET) == SECRET
    await world.crash()
