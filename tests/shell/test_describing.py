"""Deploys on their way to being a chute, where something is amiss with one of them."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from agent.aio import beside
from agent.core.chute import Version, VersionState
from agent.core.job import Viewer
from agent.interfaces import Receiving, Unpacked
from agent.jobs.chutes import Deploys, Describing
from tests.fakes.chute_folders import FakeChuteFolders
from tests.fakes.tars import MAIN, tar_of
from tests.shell.api_world import ApiWorld, api_world, until

ALICE = Viewer("alice")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


async def deploy(world: ApiWorld, code: bytes = MAIN) -> Version:
    received = await world.deploys.receive()
    try:
        await received.write(tar_of({"main.py": code}))
        return (await world.deploys.deploy(ALICE, {"image": "busybox"}, received)).version
    finally:
        await received.close()


async def test_a_deploy_whose_folder_is_damaged_ends_alone(world: ApiWorld) -> None:
    damaged, sound = await deploy(world), await deploy(world, b"pass")
    (world.state / "chutes" / damaged.id / "deploy.json").write_text("{")
    assert await world.deploys.describing.take_all_further()
    settled = await world.store.version(damaged.id, ALICE)
    assert settled is not None
    assert (settled.state, [fault.code for fault in settled.faults]) == (
        VersionState.REFUSED,
        ["internal_error"],
    )
    assert world.store.peek(sound.describe_job) is not None


async def test_a_deploy_waits_for_a_host_that_has_no_descriptors_left(world: ApiWorld) -> None:
    version, folders = await deploy(world), world.deploys.describing._folders
    works = folders.deploy

    async def fail(version_id: str) -> str:
        raise OSError(errno.EMFILE, f"too many open files: {version_id}")

    folders.deploy = fail  # type: ignore[method-assign] # one fault of the world
    async with beside(world.deploys.describing.watch(), "describing"), asyncio.timeout(20):
        await asyncio.sleep(0.5)
        assert world.store.peek(version.describe_job) is None
        folders.deploy = works  # type: ignore[method-assign] # it is over
        world.deploys.describing.look()
        await until(lambda: world.store.peek(version.describe_job) is not None)


async def test_a_deploy_whose_client_has_left_is_described_at_once_all_the_same(world: ApiWorld) -> None:
    async def hang_up(step: str) -> None:
        if step == "add_version":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    async with beside(world.deploys.describing.watch(), "describing"), asyncio.timeout(10):
        await asyncio.sleep(0.1)  # it has looked, and found nothing
        world.store.after = hang_up
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(deploy(world))
        (version,) = await world.store.describing()
        await until(lambda: world.store.peek(version.describe_job) is not None)


class _Slow(FakeChuteFolders):
    """Unpacks nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()
        self.begun = 0

    async def unpack(self, received: Receiving, version_id: str, deploy: str) -> Unpacked:
        self.begun += 1
        await self.may.wait()
        return await super().unpack(received, version_id, deploy)


async def test_deploys_of_one_owner_are_unpacked_one_after_the_other_and_anothers_beside_them(
    world: ApiWorld,
) -> None:
    folders, ids = _Slow(), (str(UUID(int=number)) for number in range(1, 99))
    describing = Describing(folders, world.intake, lambda _version: None)
    deploys = Deploys(world.intake, folders, describing, lambda: next(ids))

    async def send(owner: str, code: bytes) -> None:
        received = await deploys.receive()
        await received.write(tar_of({"main.py": code}))
        await deploys.deploy(Viewer(owner), {"image": "busybox"}, received)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(send("alice", b"%d" % number))
        group.create_task(send("bob", MAIN))
        await until(lambda: folders.begun >= 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert folders.begun == 2
        folders.may.set()
    assert len(folders.kept) == 6
