"""Outputs of jobs that swap names while they are read, and a kernel that could not hold against it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.adapters.folders import DiskFolders
from agent.interfaces import OutputChangedError, OutputRefusedError, SmallOutput
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, opened, outputs, whole

RACE_SECONDS = 2.0
SECRET, MINE = "PRECIOUS", b"mine"


@pytest.fixture
async def folders(tmp_path: Path) -> AsyncIterator[DiskFolders]:
    async with opened(tmp_path) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        yield folders


@dataclass
class Races:
    """How often something was opened by name while names were swapped, what came of it, and how often they were swapped."""

    swaps: int = 0
    read: int = 0
    refused: int = 0
    listed: int = 0
    leaked: int = 0

    def total(self) -> int:
        return self.read + self.refused + self.listed + self.leaked

    def see(self, text: bytes) -> None:
        if text == MINE:
            self.read += 1
        else:
            self.leaked += 1


@contextmanager
def racing(swap: Callable[[], None], races: Races) -> Iterator[None]:
    """Call `swap` over and over beside the test."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            swap()
            races.swaps += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def try_all_ways(folders: DiskFolders, races: Races) -> None:
    """List, then open and read whole, as often as a list costs."""
    for file in (await folders.list_outputs(JOB, PLENTY)).files:
        races.listed += 1
        races.leaked += file.size_bytes == len(SECRET)
    for _ in range(20):
        try:
            races.see(await whole(await folders.open_output(JOB, "folder/file")))
        except OutputRefusedError:
            races.refused += 1
        try:
            small = await folders.read_small(JOB, "folder/file", 1 << 20)
        except OutputRefusedError:
            races.refused += 1
        except OutputChangedError:
            races.refused += 1  # it was renamed between its open and its end
        else:
            races.see(small.data if isinstance(small, SmallOutput) else SECRET.encode())
        ahead = await folders.read_ahead(JOB, ["folder/file"] * 3, 1 << 20)
        races.refused += not ahead
        for small in ahead.values():
            races.see(small.data)


@pytest.mark.slow
@pytest.mark.parametrize("swapped", ["folder", "folder/file"])
@pytest.mark.parametrize(
    ("seconds", "least"), [(RACE_SECONDS, 100), pytest.param(60.0, 100_000, marks=pytest.mark.soak)]
)
async def test_no_swap_of_a_folder_or_file_for_a_link_ever_leads_out(
    folders: DiskFolders, tmp_path: Path, swapped: str, seconds: float, least: int
) -> None:
    """However fast the machine is, the long run goes on until there were enough races."""
    root, outside = outputs(tmp_path), tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text(SECRET)
    (root / "folder").mkdir()
    (root / "folder" / "file").write_bytes(MINE)
    name, link, held = root / swapped, root / "link", root / "held"
    target = outside if swapped == "folder" else outside / "file"

    def swap() -> None:
        os.symlink(target, link)  # noqa: PTH211 - as fast as can be
        os.rename(name, held)  # noqa: PTH104 - as above
        os.rename(link, name)  # noqa: PTH104 - as above
        os.unlink(name)  # noqa: PTH108 - as above
        os.rename(held, name)  # noqa: PTH104 - as above

    races, until, end = Races(), time.monotonic() + seconds, time.monotonic() + 10 * seconds
    with racing(swap, races):
        while time.monotonic() < until or (races.total() < least and time.monotonic() < end):
            await try_all_ways(folders, races)
    print(f"\n{swapped}: {races.total()} races ({races}), {races.leaked} leaked")  # noqa: T201 - the figure is what it is for
    assert races.leaked == 0
    assert races.total() >= least
    assert races.read
    assert races.refused


WITHOUT_OPENAT2 = """
import asyncio, ctypes, sys
from pathlib import Path
from tests.contract.folders_on_disk import JOB, NO_SECRETS, PLENTY, RECORD, opened
from agent.adapters.folders import Openat2MissingError

class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]

class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.POINTER(Filter))]

# Load the call's number; is it 437: answer ENOSYS (38), else let it pass.
filters = (Filter * 4)((0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(4, filters)), 0, 0) == 0

async def main():
    async with opened(Path(sys.argv[1])) as folders:
        await folders.claim(JOB, RECORD, NO_SECRETS)
        for ask in (folders.list_outputs(JOB, PLENTY), folders.open_output(JOB, "file")):
            try:
                await ask
            except Openat2MissingError as error:
                print(error.code)
        await folders.remove(JOB)

asyncio.run(main())
"""


def test_a_kernel_without_openat2_is_said_and_nothing_is_read(tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent.parent}"}
    command = [sys.executable, "-c", WITHOUT_OPENAT2, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["openat2_missing"] * 2, "")
