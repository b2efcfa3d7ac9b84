"""The key of pages' cookies: made once, private, kept, and made anew where it is damaged."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.folders.folders import DiskFolders, open_folders
from agent.adapters.folders.page_key import KEY_BYTES
from agent.aio import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads("test", 2)
    yield made
    made.close()


async def opened(tmp: Path, threads: Threads) -> DiskFolders:
    return await open_folders(tmp / "state", tmp / "run", threads)


async def test_all_who_come_first_at_once_get_one_key_and_so_does_the_next_daemon(
    tmp_path: Path, threads: Threads
) -> None:
    folders = await opened(tmp_path, threads)
    first, *others = await asyncio.gather(*(folders.page_key.read() for _ in range(5)))
    folders.close()
    assert (len(first), set(others)) == (KEY_BYTES, {first})
    again = await opened(tmp_path, threads)
    assert await again.page_key.read() == first
    again.close()


async def test_it_is_readable_by_its_owner_alone_and_another_state_has_another(
    tmp_path: Path, threads: Threads
) -> None:
    folders = await opened(tmp_path, threads)
    key = await folders.page_key.read()
    folders.close()
    assert stat.S_IMODE((tmp_path / "state" / "page-key").stat().st_mode) == 0o600
    (tmp_path / "two").mkdir()
    other = await opened(tmp_path / "two", threads)
    assert await other.page_key.read() != key
    other.close()


async def test_a_damaged_key_is_made_anew(tmp_path: Path, threads: Threads) -> None:
    folders = await opened(tmp_path, threads)
    (tmp_path / "state" / "page-key").write_bytes(b"short")
    key = await folders.page_key.read()
    folders.close()
    assert (tmp_path / "state" / "page-key").read_bytes() == key
    assert len(key) == KEY_BYTES


async def test_a_link_in_its_place_is_never_followed(tmp_path: Path, threads: Threads) -> None:
    folders = await opened(tmp_path, threads)
    target = tmp_path / "elsewhere"
    target.write_bytes(b"k" * KEY_BYTES)
    (tmp_path / "state" / "page-key").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        await folders.page_key.read()
    folders.close()
