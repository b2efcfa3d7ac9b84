"""The contract of SshKits: one suite, run by the folder on disk and by its twin in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from agent.adapters.ssh import KitFolder
from agent.core.ssh_kit import KitTrouble, SshKit
from agent.interfaces import SshKits
from tests.fakes.ssh_kits import FakeSshKits
from tests.ssh_kit import lay_kit


class World(Protocol):
    kits: SshKits

    def build(self) -> None: ...
    def damage(self) -> None: ...


class OnDisk:
    def __init__(self, root: Path) -> None:
        self.root, self.builds = root, 0
        self.folder = KitFolder(root)
        self.kits: SshKits = self.folder

    def build(self) -> None:
        self.builds += 1
        lay_kit(self.root, {"dropbear": b"a server %d" % self.builds})

    def damage(self) -> None:
        with (self.root / "current" / "dropbear").open("r+b") as file:
            file.write(b"A")


class InMemory:
    def __init__(self) -> None:
        self.fake = FakeSshKits()
        self.fake.builds = 0
        self.kits: SshKits = self.fake

    def build(self) -> None:
        self.fake.builds += 1
        self.fake.is_damaged = False

    def damage(self) -> None:
        self.fake.is_damaged = True


@pytest.fixture(params=["memory", "disk"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield InMemory()
        return
    on_disk = OnDisk(tmp_path)
    yield on_disk
    on_disk.folder.close()


async def look(world: World) -> SshKit:
    found = await world.kits.look()
    assert isinstance(found, SshKit), found
    return found


async def trouble(world: World) -> KitTrouble:
    found = await world.kits.look()
    assert isinstance(found, KitTrouble), found
    return found


async def test_where_none_was_built_it_says_how_to_build_one(world: World) -> None:
    found = await trouble(world)
    assert found.message.startswith("there is no SSH kit in ")
    assert "gpu-agent kit build" in found.remedy


async def test_one_that_is_built_while_the_daemon_runs_is_found_and_named_by_its_hash(world: World) -> None:
    await trouble(world)
    world.build()
    kit = await look(world)
    assert kit.path.endswith(f"/{kit.hash}")
    assert len(kit.hash) == 32
    assert kit.version.startswith("dropbear")
    assert not kit.loader.startswith("/")


async def test_the_same_kit_is_found_at_each_look(world: World) -> None:
    world.build()
    assert await look(world) == await look(world)


async def test_one_that_is_built_anew_goes_to_new_jobs(world: World) -> None:
    world.build()
    first = await look(world)
    world.build()
    second = await look(world)
    assert first.path != second.path


async def test_one_that_was_damaged_since_the_last_look_is_not_given_out(world: World) -> None:
    world.build()
    kit = await look(world)
    world.damage()
    found = await trouble(world)
    assert found.message.startswith(f"the SSH kit {kit.path} can't be used: ")
    assert "gpu-agent kit build" in found.remedy


async def test_after_a_damage_the_next_build_is_given_out(world: World) -> None:
    world.build()
    world.damage()
    await trouble(world)
    world.build()
    await look(world)
