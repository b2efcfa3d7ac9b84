"""The wall clock is stepped under a running daemon, by an hour forth and by two back: no time limit follows it.

libfaketime shifts what the daemon reads as wall time, from a file that it reads anew at each call; the kernel's other clocks stay.
"""

import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.private_engine_host import ensure_packages

HOUR = 3600
TIMEOUT_SECONDS = 30
HEEDS = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.1; done"


class WallClock:
    """What the daemon takes for wall time, as a shift of the real one."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shift"
        self.step_to(0)
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def step_to(self, seconds: int) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}s\n")
        part.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    ensure_packages({"faketime": "faketime"})
    return WallClock(tmp_path)


def shift_of(daemon: Daemon) -> float:
    """By the stamp of a job that comes in just now."""
    created = daemon.local.job(daemon.local.submit("true"))["created_at"]
    return datetime.fromisoformat(created).timestamp() - time.time()


def test_no_limit_follows_a_step_of_the_wall_clock(make_daemon: Make, clock: WallClock) -> None:
    daemon = make_daemon()
    daemon.environment = clock.environment
    daemon.start()
    client = daemon.local
    in_time = client.submit("echo up; sleep 8; exit 4", timeout=TIMEOUT_SECONDS)
    too_long = client.submit(HEEDS, timeout=TIMEOUT_SECONDS)
    began = time.monotonic()
    # By their rows: whose kill it was is told by stamps, and this steps the daemon's clock alone, not the engine's.
    expect(lambda: all(client.job(job)["phase"] == "running" for job in (in_time, too_long)), "both run")

    clock.step_to(HOUR)
    assert shift_of(daemon) == pytest.approx(HOUR, abs=30)
    job = client.wait_finished(in_time)
    assert (job["outcome"], job["exit"]["code"]) == ("failed", 4)

    clock.step_to(-HOUR)
    daemon.kill()
    daemon.start()
    assert shift_of(daemon) == pytest.approx(-HOUR, abs=30)
    job = client.wait_finished(too_long, seconds=90)
    assert (job["outcome"], job["reason"]["code"]) == ("timed_out", "timeout")
    assert TIMEOUT_SECONDS <= time.monotonic() - began < 2 * TIMEOUT_SECONDS
