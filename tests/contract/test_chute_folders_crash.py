"""Folders of versions under crashes: the process dies before each of its calls that name a file, and the next start finds all or nothing."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.adapters.folders import chutes, durable
from agent.adapters.folders.state import State
from agent.interfaces import ChuteFilesMissingError
from tests.contract.folders_on_disk import deaths, names, opened_state
from tests.fakes.tars import MAIN, tar_of

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow

VERSION = "0190b6a0-0000-7000-8000-00000000000a"
ARCHIVE = tar_of({"main.py": MAIN, "pkg/a.py": b"a" * 2000})


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened_state(tmp_path) as state:
        yield state


def is_whole(state: State) -> bool:
    try:
        chutes.read_deploy(state.chutes, VERSION)
    except ChuteFilesMissingError:
        return False
    return True


def sweep(state: State) -> None:
    """As at the next start, where no row knows any of it."""
    chutes.sweep(state.chutes, durable.names_in(state.chutes), set())


def make(state: State) -> None:
    chutes.make(state.chutes, io.BytesIO(ARCHIVE), VERSION, "{}")


def test_a_version_whose_making_died_is_whole_or_nothing_and_a_sweep_cleans_up(
    state: State, tmp_path: Path
) -> None:
    folder = tmp_path / "state" / "chutes"
    for step in deaths(lambda: make(state)):
        if is_whole(state):
            files = folder / VERSION / "files"
            assert (files / "main.py").read_bytes() == MAIN, step
            assert (files / "pkg" / "a.py").read_bytes() == b"a" * 2000, step
        sweep(state)
        assert names(folder) == [], step


def test_a_removal_that_died_left_all_of_it_or_what_a_sweep_takes(state: State, tmp_path: Path) -> None:
    make(state)
    for _ in deaths(lambda: chutes.remove(state.chutes, VERSION)):
        if not is_whole(state):
            sweep(state)
            assert names(tmp_path / "state" / "chutes") == []
            make(state)


def test_an_archive_that_was_arriving_is_gone_after_a_crash(state: State, tmp_path: Path) -> None:
    def receive_three() -> None:
        for _ in range(3):
            chutes.nameless(state.chutes).close()

    for _ in deaths(receive_three):
        sweep(state)
        assert names(tmp_path / "state" / "chutes") == []
