"""Hashes of output files that are remembered, and those that are not."""

import os
from pathlib import Path

import pytest

from agent.adapters.folders.streams import HASHES_KEPT, SETTLED_NS, Hashes


@pytest.fixture
def status(tmp_path: Path) -> os.stat_result:
    (tmp_path / "file").write_text("x")
    return (tmp_path / "file").stat()


def changed(status: os.stat_result, inode: int) -> os.stat_result:
    """The same file, but for its inode's number."""
    stamps = {"st_mtime_ns": status.st_mtime_ns, "st_ctime_ns": status.st_ctime_ns}
    return os.stat_result((status.st_mode, inode, *tuple(status)[2:]), stamps)


def test_the_hash_of_a_file_that_rested_is_remembered(status: os.stat_result) -> None:
    hashes = Hashes()
    hashes.keep(status, "abc", status.st_ctime_ns + SETTLED_NS + 1)
    assert hashes.find(status) == "abc"
    assert hashes.find(changed(status, 1)) is None


def test_the_hash_of_a_file_that_changed_a_moment_ago_is_not(status: os.stat_result) -> None:
    hashes = Hashes()
    hashes.keep(status, "abc", status.st_ctime_ns + SETTLED_NS)
    assert hashes.find(status) is None


def test_memory_is_bounded_and_the_oldest_goes_first(status: os.stat_result) -> None:
    hashes = Hashes()
    for inode in range(HASHES_KEPT + 1):
        hashes.keep(changed(status, inode), "abc", status.st_ctime_ns + SETTLED_NS + 10**9)
    assert hashes.find(changed(status, 0)) is None
    assert hashes.find(changed(status, 1)) == "abc"
