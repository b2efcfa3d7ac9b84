"""A state folder opened for one test, and what hostile jobs and crashes do to it."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders, open_folders
from agent.adapters.folders.state import State, open_state
from agent.adapters.folders.streams import BLOCK_BYTES
from agent.aio import Threads
from agent.core.container import Credentials
from agent.interfaces import OutputLimits, OutputReader, SecretFiles

JOB = "0190b6a0-0000-7000-8000-000000000001"
OTHER = "0190b6a0-0000-7000-8000-000000000002"
RECORD = '{"owner": "local", "kind": "container", "spec": {"image": "busybox"}}'
SECRETS = SecretFiles({"TOKEN": "s3cret-one", "KEY": "s3cret-two"}, Credentials("me", "s3cret-three"))
NO_SECRETS = SecretFiles({})
PLENTY = OutputLimits(files=100_000, total_bytes=1 << 40, seconds=60)
DIED = 9
MOST_STEPS = 200


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[DiskFolders]:
    threads = Threads("folders", 4)
    try:
        folders = await open_folders(path / "state", path / "run", threads)
    except BaseException:
        threads.close()
        raise
    try:
        yield folders
    finally:
        threads.close()
        folders.close()


@contextmanager
def opened_state(path: Path) -> Iterator[State]:
    """Without threads, for tests that fork."""
    state = open_state(path / "state", path / "run")
    try:
        yield state
    finally:
        state.close()


@contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[None]:
    if not target.exists():
        target.mkdir()
    subprocess.run(["mount", *arguments, str(target)], check=True)
    mount = os.open(target, os.O_PATH)
    try:
        yield
    finally:
        where = Path(
            f"/proc/self/fd/{mount}"
        ).readlink()  # it may have been moved with the folder that it is in
        os.close(mount)
        subprocess.run(["umount", str(where)], check=True)


def outputs(path: Path, job_id: str = JOB) -> Path:
    return path / "state" / "jobs" / job_id / "outputs"


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def texts_below(path: Path) -> str:
    """All that is on disk there: names and contents."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return "\n".join(f"{file}\n{file.read_text(errors='replace')}" for file in files)


async def whole(reader: OutputReader) -> bytes:
    data = b""
    while part := await reader.read(len(data), BLOCK_BYTES):
        data += part
    await reader.close()
    return data


def die_at(step: int, act: Callable[[], object]) -> bool:
    """Do `act` in a process that ends, as by SIGKILL, before its `step`-th call that names a file. True if it lived.

    The interpreter's audit events stand for the steps, so nothing of ours is patched and a new step is found by itself.
    """
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, _: object) -> None:
            nonlocal left
            if event == "open" or event.startswith(("os.", "fcntl.", "subprocess.")):
                left -= 1
                if left < 0:
                    os._exit(DIED)

        sys.addaudithook(count)
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, DIED)
    return status == 0


def deaths(act: Callable[[], object]) -> Iterator[int]:
    """Die at each step in turn; ends with the first run that lived."""
    for step in range(MOST_STEPS):
        if die_at(step, act):
            assert step > 2
            return
        yield step
    pytest.fail(f"still not done after {MOST_STEPS} steps")
