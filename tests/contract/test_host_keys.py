"""Host keys, from memory and out of the kit's own program: each another one, whole, and nothing of it left on the host."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.ssh import DropbearKeys
from agent.core.ssh_kit import SshKit
from agent.interfaces import HostKeyNotMadeError, HostKeys
from agent.spec import read_public_key
from tests.fakes.host_keys import FakeHostKeys
from tests.private_engine_host import is_alive
from tests.ssh_kit import built_kit

NO_KIT = SshKit("/nowhere", "0", "none", "lib/ld.so")


@pytest.fixture(scope="module")
def kit() -> SshKit:
    return built_kit()


@asynccontextmanager
async def in_memory(_path: Path) -> AsyncIterator[HostKeys]:
    yield FakeHostKeys()


@asynccontextmanager
async def by_dropbear(path: Path) -> AsyncIterator[HostKeys]:
    keys = DropbearKeys(path)
    yield keys
    keys.close()


@pytest.fixture(params=[in_memory, by_dropbear])
async def keys(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HostKeys]:
    async with request.param(tmp_path) as made:
        yield made


async def test_each_host_key_is_another_and_its_public_half_is_a_whole_key(
    keys: HostKeys, kit: SshKit
) -> None:
    made = [await keys.make(kit) for _ in range(8)]
    assert len({key.private for key in made}) == len({key.public.base64 for key in made}) == 8
    for key in made:
        assert read_public_key(key.public.line) == key.public
        assert key.public.comment == ""
        assert repr(key.private) not in repr(key)


@pytest.fixture
async def dropbear(tmp_path: Path) -> AsyncIterator[DropbearKeys]:
    keys = DropbearKeys(tmp_path)
    yield keys
    keys.close()


async def test_nothing_of_a_key_is_left_on_the_host(
    dropbear: DropbearKeys, kit: SshKit, tmp_path: Path
) -> None:
    await dropbear.make(kit)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden files, too


async def test_what_a_killed_agent_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "host-key-abc").mkdir()
    (tmp_path / "host-key-abc" / "key").write_text("half a key")
    (tmp_path / "jobs").mkdir()
    DropbearKeys(tmp_path).close()
    assert os.listdir(tmp_path) == ["jobs"]  # noqa: PTH208 - as above


async def test_a_program_that_is_not_there_or_fails_is_told(dropbear: DropbearKeys, tmp_path: Path) -> None:
    with pytest.raises(HostKeyNotMadeError, match="No such file"):
        await dropbear.make(NO_KIT)
    false = SshKit("/bin", "0", "none", "false")
    with pytest.raises(HostKeyNotMadeError, match="ended with 1"):
        await dropbear.make(false)
    true = SshKit("/bin", "0", "none", "true")
    with pytest.raises(HostKeyNotMadeError, match="made no host key"):
        await dropbear.make(true)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - as above


async def test_a_program_that_hangs_is_killed_at_its_deadline(tmp_path: Path) -> None:
    loader, pid = tmp_path / "hang", tmp_path / "pid"
    loader.write_text(f"#!/bin/sh\necho $$ >{pid}\nexec /bin/sleep 60\n")
    loader.chmod(0o755)
    folder = tmp_path / "run"
    folder.mkdir()
    keys = DropbearKeys(folder, seconds=0.5)
    with pytest.raises(HostKeyNotMadeError, match=r"within 0\.5 s"):
        await keys.make(SshKit(str(tmp_path), "0", "none", "hang"))
    keys.close()
    assert os.listdir(folder) == []  # noqa: PTH208 - as above
    async with asyncio.timeout(5):
        while is_alive(int(pid.read_text())):
            await asyncio.sleep(0.02)
