"""Locks of GPUs: what holds in memory and with real files, and what only real files and real processes can break."""

import asyncio
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from agent.adapters.gpu_locks import GpuLockFiles
from agent.core.gpu_locks import LockHolder
from agent.interfaces import GpuLocks, GpuLocksUnusableError
from tests.fakes.gpu_locks import FakeGpuLocks

ONE, TWO, THREE = "GPU-1", "GPU-2", "GPU-3"
FIRST, SECOND = LockHolder("agent-1", 11, "/var/lib/first"), LockHolder("agent-2", 22, "/var/lib/second")
# A process that takes locks, says which it did not get, and waits for the end of its input.
TAKER = """
import asyncio, json, subprocess, sys
from pathlib import Path
from agent.adapters.gpu_locks import GpuLockFiles
from agent.core.gpu_locks import LockHolder

async def main(folder, name, *gpus):
    locks = GpuLockFiles(Path(folder), LockHolder(name, 4711, "/var/lib/" + name))
    held = await locks.take(gpus)
    child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print(json.dumps({"held": sorted(held), "child": child.pid}), flush=True)
    sys.stdin.read()

asyncio.run(main(*sys.argv[1:]))
"""


class Closable(GpuLocks, Protocol):
    def close(self) -> None: ...


Make = Callable[[LockHolder], Closable]


@pytest.fixture(params=["fake", "files"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    host: dict[str, LockHolder] = {}
    made: list[Closable] = []

    def make(own: LockHolder) -> Closable:
        is_fake = request.param == "fake"
        locks: Closable = FakeGpuLocks(host, own) if is_fake else GpuLockFiles(tmp_path / "locks", own)
        made.append(locks)
        return locks

    yield make
    for locks in made:
        locks.close()


async def test_only_what_overlaps_is_refused_and_its_holder_is_told(make: Make) -> None:
    first, second = make(FIRST), make(SECOND)
    assert await first.take([ONE, TWO]) == {}
    assert await second.take([TWO, THREE]) == {TWO: FIRST}
    assert await first.take([THREE]) == {THREE: SECOND}


async def test_what_is_ours_is_taken_again_without_a_word(make: Make) -> None:
    locks = make(FIRST)
    assert await locks.take([ONE]) == {}
    assert await locks.take([ONE, TWO]) == {}


async def test_a_lock_is_free_once_its_holder_is_gone(make: Make) -> None:
    first, second = make(FIRST), make(SECOND)
    await first.take([ONE])
    first.close()
    assert await second.take([ONE]) == {}
    assert await make(FIRST).take([ONE]) == {ONE: SECOND}


def names_below(path: Path) -> set[str]:
    return {found.name for found in path.rglob("*")}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def locks_in(folder: Path, own: LockHolder = FIRST) -> Iterator[GpuLockFiles]:
    locks = GpuLockFiles(folder, own)
    try:
        yield locks
    finally:
        locks.close()


@contextmanager
def taker(folder: Path, name: str, *gpus: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another agent's process, and a child of it that it does not see off."""
    command = [sys.executable, "-c", TAKER, str(folder), name, *gpus]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def told(process: subprocess.Popen[bytes]) -> tuple[list[str], int]:
    assert process.stdout is not None
    answer = json.loads(process.stdout.readline())
    return answer["held"], answer["child"]


async def test_the_lock_of_a_killed_process_blocks_nobody_though_a_child_of_it_lives(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    with taker(folder, "gone", ONE) as process, locks_in(folder) as locks:
        _, child = await asyncio.to_thread(told, process)
        try:
            assert await locks.take([ONE]) == {ONE: LockHolder("gone", 4711, "/var/lib/gone")}
            process.kill()
            process.wait(10)
            os.kill(child, 0)  # it is still there
            assert await locks.take([ONE]) == {}
        finally:
            os.kill(child, signal.SIGKILL)
    assert json.loads((folder / ONE).read_text())["agent"] == "agent-1"


async def test_of_agents_that_want_the_same_at_the_same_time_one_gets_it_all(tmp_path: Path) -> None:
    folder, gpus = tmp_path / "locks", [f"GPU-{number:02}" for number in range(16)]
    for _ in range(20):
        with locks_in(folder, FIRST) as first, locks_in(folder, SECOND) as second:
            answers = await asyncio.gather(first.take(gpus), second.take(list(reversed(gpus))))
        assert sorted(map(len, answers)) == [0, 16]


@pytest.mark.slow
async def test_one_that_was_stopped_while_it_took_locks_is_waited_for_and_not_for_ever(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "locks"
    folder.mkdir(0o700)
    turn = os.open(folder, os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)
    with locks_in(folder) as locks:
        with pytest.raises(GpuLocksUnusableError):
            await locks.take([ONE])
        taking = asyncio.ensure_future(locks.take([ONE]))
        await asyncio.sleep(0.1)
        assert not taking.done()
        os.close(turn)
        assert await taking == {}


async def test_the_folder_is_made_for_the_first_gpu_and_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "locks"
    with locks_in(folder) as locks:
        assert await locks.take([]) == {}
        assert not folder.exists()
        await locks.take([ONE])
    assert (mode(folder), mode(folder / ONE)) == (0o700, 0o600)


async def test_a_folder_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    readable_by_others(folder)
    with locks_in(folder) as locks:
        await locks.take([ONE])
    assert mode(folder) == 0o700


def readable_by_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def written_to_by_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def another_users(folder: Path) -> None:
    folder.mkdir(0o700)
    os.chown(folder, 1234, 1234)


def a_link(folder: Path) -> None:
    target = folder.with_name("target")
    target.mkdir(0o700)
    folder.symlink_to(target)


def a_file(folder: Path) -> None:
    folder.write_text("")


@pytest.mark.parametrize("spoil", [written_to_by_others, another_users, a_link, a_file])
async def test_a_folder_that_is_not_safe_is_refused_and_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = tmp_path / "locks"
    spoil(folder)
    before = folder.lstat()
    with locks_in(folder) as locks, pytest.raises(GpuLocksUnusableError, match=str(folder)):
        await locks.take([ONE])
    assert folder.lstat() == before
    assert ONE not in names_below(tmp_path)


async def test_a_link_in_the_place_of_a_lock_is_not_written_through(tmp_path: Path) -> None:
    folder, precious = tmp_path / "locks", tmp_path / "precious"
    folder.mkdir(0o700)
    precious.write_text("as it was")
    (folder / ONE).symlink_to(precious)
    with locks_in(folder) as locks, pytest.raises(GpuLocksUnusableError):
        await locks.take([ONE])
    assert precious.read_text() == "as it was"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"agent": "a"}', '{"agent": "a", "pid": "x", "state_dir": ""}']
)
async def test_a_holder_whose_lock_says_nothing_of_use_is_one_without_a_name(
    tmp_path: Path, text: str
) -> None:
    with locks_in(tmp_path, SECOND) as second, locks_in(tmp_path) as locks:
        await second.take([ONE])
        (tmp_path / ONE).write_text(text)
        assert await locks.take([ONE]) == {ONE: None}


async def test_what_a_longer_name_left_in_the_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / ONE).write_text("x" * 9000)
    with locks_in(tmp_path, SECOND) as second, locks_in(tmp_path) as locks:
        await second.take([ONE])
        assert await locks.take([ONE]) == {ONE: SECOND}
