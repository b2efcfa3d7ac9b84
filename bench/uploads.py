"""bench/uploads — outputs sent by PUT to an nginx on this host, against curl and a bare sha256 of the same files. Needs no engine.

What sends is bench/upload_process: all that the daemon has between a job's folder and the endpoint, in one process.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.figures import TIMES, Figure, at_least, at_most
from bench.host import Bench, run_alone
from bench.upload_process import HEADERS, Took
from tests import upload_servers
from tests.e2e.daemon import REPOSITORY
from tests.upload_servers import Server

LEAST_OF_ONE_FILE, LEAST_OF_SMALL_FILES = 0.9, 0.3
MOST_GROWTH_MIB, MOST_LAG_MS = 32.0, 20.0
MIB = 1 << 20
LARGE_BYTES = 1 << 30
PARTS, PART_BYTES = 8, 256 * MIB
SMALL_FILES, SMALL_BYTES = 10_000, 4096
# Of each of the jobs that send at once: small files beside a large one.
JOBS, JOB_BYTES, JOB_FILES = 8, 128 * MIB, 250
# The first is dropped.
ROUNDS = 6
# A tmpfs on every Linux.
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Sending:
    """`folder`: of this bench, on a disk. The journal waits for it, as on a host; the server keeps what it gets in memory."""

    folder: Path
    server: Server
    bench: Bench

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def ours(self, *sources: Path) -> Took:
        """One upload in a process of its own, each folder as a job's outputs; they are as before when this returns."""
        command = [
            sys.executable,
            "-m",
            "bench.upload_process",
            str(self.state),
            self.server.url,
            *map(str, sources),
        ]
        with (self.folder / "log").open("ab") as log:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, check=True, cwd=REPOSITORY)
        self._check_and_empty(sources)
        return Took(**json.loads(done.stdout))

    def curl(self, *arguments: str) -> float:
        headers = [text for name, value in HEADERS.items() for text in ("-H", f"{name}: {value}")]
        seconds = seconds_of("curl", "-sSf", *headers, *arguments, f"{self.server.url}/curl/")
        self._empty()
        return seconds

    def bare(self, way: str, source: Path) -> float:
        """Seconds of a process that does the least (bench/bare_upload). What it shows is what holds us; it has no bar."""
        command = [sys.executable, "-m", "bench.bare_upload", way, f"{self.server.url}/bare/", str(source)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=REPOSITORY)
        self._empty()
        return float(done.stdout)

    def _check_and_empty(self, sources: tuple[Path, ...]) -> None:
        sent = sorted(path.stat().st_size for path in _files(*sources))
        came = _files(self.server.folder)
        assert sorted(path.stat().st_size for path in came if path.name != "manifest.json") == sent
        self._empty()

    def _empty(self) -> None:
        for entry in self.server.folder.iterdir():
            shutil.rmtree(entry)


async def measure(bench: Bench) -> list[Figure]:
    return await asyncio.to_thread(_measure, bench)


def _measure(bench: Bench) -> list[Figure]:
    with _folder(bench.folder) as folder, _folder(MEMORY) as memory, upload_servers.nginx(memory) as server:
        (folder / "state").mkdir(mode=0o700)
        sending = Sending(folder, server, bench)
        return [
            *_one_large_file(sending),
            *_large_files_at_once(sending),
            *_small_files(sending),
            *_jobs_at_once(sending),
        ]


def _one_large_file(sending: Sending) -> list[Figure]:
    size = sending.bench.size(LARGE_BYTES, 64 * MIB)
    source = _fill(sending.folder / "large", 1, size)
    (file,) = _files(source)
    ratios, bares, grown = [], [], []
    for number in range(sending.bench.size(ROUNDS, 2)):
        curl = sending.curl("-T", str(file))
        sha256 = seconds_of("openssl", "dgst", "-sha256", str(file))
        took, bare = sending.ours(source), sending.bare("socket", file)
        if number > 0:
            ratios.append(max(curl, sha256) / took.seconds)
            bares.append(max(curl, sha256) / bare)
            grown.append(took.grown)
        print(
            f"  {size / MIB:.0f} MiB: curl -T {curl:.2f} s, openssl dgst {sha256:.2f} s, ours {_told(took)}, bare {bare:.2f} s, ratio {max(curl, sha256) / took.seconds:.2f}{_noted(number)}"
        )
    print(
        f"  a process that reads, hashes and sends on one socket, and does nothing else: {median(bares):.2f} of that"
    )
    shutil.rmtree(source)
    name = f"upload of {size / MIB:.0f} MiB with its sha256, median of {len(ratios)} rounds"
    slower = TIMES + "the slower of curl -T and openssl dgst"
    return [
        at_least("uploads", name, median(ratios), LEAST_OF_ONE_FILE, slower),
        _growth(f"{size / MIB:.0f} MiB", max(grown)),
    ]


def _large_files_at_once(sending: Sending) -> list[Figure]:
    size = sending.bench.size(PART_BYTES, 16 * MIB)
    source = _fill(sending.folder / "parts", PARTS, size)
    took = sending.ours(source)
    print(f"  {PARTS} files of {size / MIB:.0f} MiB: {_told(took)}")
    shutil.rmtree(source)
    return [_growth(f"{PARTS} files of {size / MIB:.0f} MiB at once", took.grown)]


def _small_files(sending: Sending) -> list[Figure]:
    count = sending.bench.size(SMALL_FILES, 500)
    source = _fill(sending.folder / "small", count, SMALL_BYTES)
    every = f"{source}/[{0:05}-{count - 1:05}]"
    ratios, bares, grown = [], [], []
    for number in range(sending.bench.size(ROUNDS, 2)):
        curl = sending.curl("-Z", "--parallel-max", "8", "-T", every)
        took, bare = sending.ours(source), sending.bare("aiohttp", source)
        if number > 0:
            ratios.append(curl / took.seconds)
            bares.append(curl / bare)
            grown.append(took.grown)
        print(
            f"  {count} files of {SMALL_BYTES} bytes: curl -Z {curl:.2f} s, ours {_told(took)}, bare {bare:.2f} s, ratio {curl / took.seconds:.2f}{_noted(number)}"
        )
    print(
        f"  a process that reads, hashes and sends them by aiohttp, and does nothing else: {median(bares):.2f} of that"
    )
    shutil.rmtree(source)
    name = f"upload of {count} files of {SMALL_BYTES} bytes, median of {len(ratios)} rounds"
    return [
        at_least("uploads", name, median(ratios), LEAST_OF_SMALL_FILES, TIMES + "curl -Z --parallel-max 8"),
        _growth(f"{count} files of {SMALL_BYTES} bytes", max(grown)),
    ]


def _jobs_at_once(sending: Sending) -> list[Figure]:
    size, count = sending.bench.size(JOB_BYTES, 16 * MIB), sending.bench.size(JOB_FILES, 25)
    sources = [_fill(sending.folder / f"job{number}", count, SMALL_BYTES) for number in range(JOBS)]
    for source in sources:
        _fill(source / "large", 1, size)
    took = sending.ours(*sources)
    print(f"  {JOBS} jobs at once, each {size / MIB:.0f} MiB and {count} small files: {_told(took)}")
    name = f"uploads of {JOBS} jobs at once: the event loop is late, p99"
    return [at_most("uploads", name, took.lag * 1e3, MOST_LAG_MS, "{:.0f} ms")]


def seconds_of(*command: str) -> float:
    """Of a program of others, its start included."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _growth(what: str, mib: float) -> Figure:
    return at_most("uploads", f"upload of {what}: memory grows by", mib, MOST_GROWTH_MIB, "{:.0f} MiB")


def _told(took: Took) -> str:
    return f"{took.seconds:.2f} s ({took.cpu:.2f} CPU s, memory +{took.grown:.0f} MiB, late {took.lag * 1e3:.0f} ms at p99)"


def _noted(number: int) -> str:
    return " (dropped)" if number == 0 else ""


def _files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _fill(folder: Path, count: int, size: int) -> Path:
    """So many files of random bytes, on the disk: nothing of them is to be written any more while they are sent."""
    folder.mkdir()
    for number in range(count):
        with (folder / f"{number:05}").open("wb") as file:
            for start in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size - start)))
    os.sync()
    return folder


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="uploads-", dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    run_alone(measure)
