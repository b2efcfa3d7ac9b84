"""Job folders under crashes: the process dies before each of its calls that name a file, and the same step is done again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.folders import JobFolderMissingError, jobs, secrets
from agent.adapters.folders.state import State
from agent.core.notify import NotifyTarget
from agent.interfaces import Claimed
from tests.contract.folders_on_disk import (
    JOB,
    RECORD,
    SECRETS,
    deaths,
    names,
    opened_state,
    outputs,
    texts_below,
)

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened_state(tmp_path) as state:
        yield state


def test_a_claim_that_died_is_whole_or_nothing_and_a_sweep_cleans_up(state: State, tmp_path: Path) -> None:
    for step in deaths(lambda: jobs.claim(state, JOB, RECORD, SECRETS)):
        if jobs.job_ids(state) == {JOB}:
            assert jobs.read_secrets(state, JOB) == SECRETS, step
            assert jobs.read_record(state, JOB).content is not None
            assert outputs(tmp_path).is_dir()
        jobs.sweep(state, set())
        assert names(tmp_path / "state" / "jobs") == [], step
    assert jobs.claim(state, JOB, RECORD, SECRETS) is Claimed.EXISTS


def test_a_prepare_that_died_is_finished_by_the_next_one(state: State, tmp_path: Path) -> None:
    jobs.claim(state, JOB, RECORD, SECRETS)
    for step in deaths(lambda: jobs.prepare(state, JOB)):
        mount = Path(str(jobs.prepare(state, JOB).secrets))
        assert {file.name: file.read_text() for file in mount.iterdir()} == SECRETS.values, step
        assert names(mount.parent) == ["secrets"], step
        jobs.remove(state, JOB)
        jobs.claim(state, JOB, RECORD, SECRETS)


def test_dropped_secrets_are_never_half_there_and_the_next_drop_ends_it(state: State, tmp_path: Path) -> None:
    def drop() -> None:
        secrets.drop(state.jobs, state.runtime_jobs, JOB)

    jobs.claim(state, JOB, RECORD, SECRETS)
    jobs.prepare(state, JOB)
    for step in deaths(drop):
        try:
            assert jobs.read_secrets(state, JOB) == SECRETS, step
        except JobFolderMissingError:
            assert not (tmp_path / "state" / "jobs" / JOB / "secrets").exists()
        drop()
        assert "s3cret" not in texts_below(tmp_path), step
        jobs.remove(state, JOB)
        jobs.claim(state, JOB, RECORD, SECRETS)
        jobs.prepare(state, JOB)


TARGET = NotifyTarget("https://a.example/?k=s3cret-four", "s3cret-five")


@pytest.mark.slow
@pytest.mark.parametrize("target", [None, TARGET], ids=["without target", "with target"])
def test_a_drop_that_died_leaves_all_or_none_of_the_jobs_own_secrets_and_where_to_notify_till_its_turn(
    state: State, tmp_path: Path, target: NotifyTarget | None
) -> None:
    kept = replace(SECRETS, notify=target)

    def drop_used() -> None:
        secrets.drop_used(state.jobs, state.runtime_jobs, JOB)

    def drop_target() -> None:
        secrets.drop_target(state.jobs, JOB)

    jobs.claim(state, JOB, RECORD, kept)
    jobs.prepare(state, JOB)
    for step in deaths(drop_used):
        try:
            assert jobs.read_secrets(state, JOB) == kept, step
        except JobFolderMissingError:
            assert secrets.read_target(state.jobs, JOB) == target, step
        drop_used()
        assert not any(f"s3cret-{one}" in texts_below(tmp_path) for one in ("one", "two", "three")), step
        assert secrets.read_target(state.jobs, JOB) == target, step
        jobs.remove(state, JOB)
        jobs.claim(state, JOB, RECORD, kept)
        jobs.prepare(state, JOB)
    for step in deaths(drop_target):
        drop_target()
        assert "s3cret" not in texts_below(tmp_path), step
        jobs.remove(state, JOB)
        jobs.claim(state, JOB, RECORD, kept)
        drop_used()


@pytest.mark.slow
def test_a_removal_that_died_leaves_all_or_no_job_and_the_next_one_ends_it(
    state: State, tmp_path: Path
) -> None:
    def fill() -> None:
        jobs.claim(state, JOB, RECORD, SECRETS)
        jobs.prepare(state, JOB)
        (outputs(tmp_path) / "a" / "b" / "c").mkdir(parents=True)
        (outputs(tmp_path) / "a" / "b" / "file").write_text("x")

    fill()
    for step in deaths(lambda: jobs.remove(state, JOB)):
        if jobs.job_ids(state):
            assert jobs.read_secrets(state, JOB) == SECRETS, step
            assert (outputs(tmp_path) / "a" / "b" / "file").exists(), step
        jobs.remove(state, JOB)
        assert names(tmp_path / "state" / "jobs") + names(tmp_path / "run" / "jobs") == [], step
        fill()
