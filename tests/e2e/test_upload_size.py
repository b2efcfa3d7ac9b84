"""A file of any size leaves in constant memory, and arrives whole."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Make
from tests.e2e.sink import UPLOADS, sinking
from tests.private_engine_host import wait

MIB, GIB = 1 << 20, 1 << 30
# TRANSFER: for any size and count.
MOST_GROWTH = 32 * MIB


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


@contextmanager
def watching(pid: int, most: list[int]) -> Iterator[None]:
    """The most memory that the process has in the block, in `most`."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            most.append(resident(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("size", [2 * GIB, pytest.param(20 * GIB, marks=pytest.mark.soak)])
def test_a_sparse_file_of_any_size_arrives_whole_in_constant_memory(make_daemon: Make, size: int) -> None:
    daemon = make_daemon({"uploads": UPLOADS}).start()
    with sinking(daemon.net) as sink:
        # What is loaded and allocated with the first upload is no growth of the second.
        first = daemon.local.submit("truncate -s 50M /outputs/large", outputs={"upload": sink.upload()})
        daemon.local.wait_finished(first)
        assert daemon.process is not None
        pid, most = daemon.process.pid, list[int]()
        before = resident(pid)
        script = f"truncate -s {size} /outputs/large; echo end >> /outputs/large"
        with watching(pid, most):
            job_id = daemon.local.submit(script, outputs={"upload": sink.upload()})
            job = daemon.local.wait_finished(job_id, seconds=300)
        assert job["upload"]["state"] == "complete"
        (received,) = sink.files(job_id).values()
        assert received.size == size + 4
        digest = hashlib.sha256()
        for _ in range(size // MIB):
            digest.update(bytes(MIB))
        digest.update(b"end\n")
        assert received.sha256 == digest.hexdigest()
        assert len(most) > 10
        assert max(most) - before < MOST_GROWTH, f"{(max(most) - before) / MIB:.1f} MiB"
        assert wait(lambda: resident(pid) - before < MOST_GROWTH, 5)
