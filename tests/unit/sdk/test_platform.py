"""The members of `self` on the in-memory platform: what they take, what they refuse, what can be read afterwards."""

import gc
import math
from pathlib import Path

import pytest

from chutes import Chute, PlatformError
from chutes._calls import MAX_SHOWN_CHARACTERS, Progress
from chutes.platform import Child, Recorder


@pytest.fixture
def platform() -> Recorder:
    return Recorder(job_id="me")


async def test_progress_is_kept_in_its_order(platform: Recorder) -> None:
    await platform.update_job_progress(job_id="me", progress=50, message="half")
    await platform.update_job_progress(progress=100.0)
    assert platform.progress == [Progress(50, "half"), Progress(100.0, None)]


async def test_another_jobs_progress_is_refused(platform: Recorder) -> None:
    with pytest.raises(ValueError, match="its own progress only: this is 'me', not 'you'"):
        await platform.update_job_progress(job_id="you", progress=1)
    assert platform.progress == []


@pytest.mark.parametrize(
    ("percent", "shown"),
    [
        (100.00000000000001, 100),
        (104, 100),
        (-0.1, 0),
        (math.inf, 100),
        pytest.param(-(10**400), 0, id="huge"),
    ],
)
async def test_progress_beyond_its_ends_is_shown_at_its_end_and_ends_no_job(
    platform: Recorder, percent: float, shown: int
) -> None:
    await platform.update_job_progress(progress=percent)
    assert platform.progress == [Progress(shown, None)]


@pytest.mark.parametrize("percent", [math.nan, "50", None, []])
async def test_progress_that_is_no_percentage_is_refused(platform: Recorder, percent: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        await platform.update_job_progress(progress=percent)


async def test_a_long_message_is_cut_and_no_error(platform: Recorder) -> None:
    await platform.update_job_progress(progress=1, message="x" * 10_000_000)
    (kept,) = platform.progress
    assert kept.message is not None
    assert len(kept.message) == MAX_SHOWN_CHARACTERS


class Scalar:
    """Like a NumPy scalar or a tensor of one element."""

    def __float__(self) -> float:
        return 0.25


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1, 1),
        (0.5, 0.5),
        (True, 1),
        (Scalar(), 0.25),
        ("ValueError", "ValueError"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (1 << 70, float(1 << 70)),
        pytest.param(10**400, "inf", id="huge"),
        pytest.param(-(10**400), "-inf", id="huge below zero"),
    ],
)
async def test_a_metric_is_a_number_that_json_has_or_a_text(
    platform: Recorder, value: object, kept: float | str
) -> None:
    await platform.record_metric("loss", value)
    ((name, found),) = platform.metrics
    assert (name, found, type(found)) == ("loss", kept, type(kept))


@pytest.mark.parametrize("value", [None, [], {}, object()])
async def test_a_metric_of_another_kind_is_refused(platform: Recorder, value: object) -> None:
    with pytest.raises(TypeError, match="a number or a text"):
        await platform.record_metric("loss", value)


@pytest.mark.parametrize("name", ["", None, 5, "n" * 201])
async def test_a_metric_needs_a_name(platform: Recorder, name: str) -> None:
    with pytest.raises(ValueError, match="a metric's name"):
        await platform.record_metric(name, 1)


async def test_the_last_status_of_a_task_stands(platform: Recorder) -> None:
    await platform.update_job_status("a", "started")
    await platform.update_job_status("a", "completed")
    await platform.update_job_status(7, "started")
    assert platform.statuses == {"a": "completed", "7": "started"}


async def test_children_are_kept_with_what_they_were_started_with(platform: Recorder) -> None:
    first = await platform.start_job("step", {"n": 1})
    second = await platform.start_job("step", {"n": 1})
    assert platform.children == [Child(first, "step", {"n": 1}, None), Child(second, "step", {"n": 1}, None)]
    assert first != second


async def test_a_key_gives_the_child_that_is_there(platform: Recorder) -> None:
    first = await platform.start_job("step", {"n": 1}, key="once")
    assert await platform.start_job("step", {"n": 2}, key="once") == first
    assert await platform.start_job("other", key="once") != first


@pytest.mark.parametrize("payload", [object(), {"a": {1}}, {"a": math.nan}, b"bytes", "half a pair: \ud800"])
async def test_a_payload_that_is_no_json_is_refused_where_it_is_sent(
    platform: Recorder, payload: object
) -> None:
    with pytest.raises(TypeError, match="the payload for 'step' is no JSON"):
        await platform.start_job("step", payload)


async def test_a_payload_without_end_or_of_no_end_of_depth_is_refused(platform: Recorder) -> None:
    endless: list[object] = []
    endless.append(endless)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for payload in (endless, deep):
        with pytest.raises(TypeError, match="no JSON"):
            await platform.start_job("step", payload)


async def test_a_payload_over_a_mebibyte_is_refused(platform: Recorder) -> None:
    for payload in ("x" * (1 << 20), "é" * (1 << 19)):
        with pytest.raises(ValueError, match="has 1048578 bytes, and 1048576 are the most"):
            await platform.start_job("step", payload)
    for payload in ("x" * ((1 << 20) - 2), "é" * ((1 << 19) - 1)):
        await platform.start_job("step", payload)


@pytest.mark.parametrize("key", ["", "k" * 201, 5])
async def test_a_key_is_a_short_text(platform: Recorder, key: str) -> None:
    with pytest.raises(ValueError, match="a key is a text"):
        await platform.start_job("step", key=key)


async def test_a_job_that_the_chute_has_not_is_refused_by_name() -> None:
    chute = Chute(username="me", name="names")

    @chute.job(name="known")
    async def work(self): ...

    with pytest.raises(PlatformError, match="no job 'work'; its jobs are: known") as refused:
        await chute.start_job("work")
    assert refused.value.code == "unknown_function"
    assert await chute.start_job("known") == "local.1"


async def test_a_child_can_be_looked_at_and_cancelled_once(platform: Recorder) -> None:
    child = await platform.start_job("step")
    assert (await platform.get_job_status(child) or {})["phase"] == "queued"
    assert [await platform.cancel_job(child), await platform.cancel_job(child)] == [True, False]
    assert (await platform.get_job_status(child) or {})["outcome"] == "cancelled"


async def test_a_job_that_is_not_there_has_no_status_and_is_not_cancelled(platform: Recorder) -> None:
    assert await platform.get_job_status("nobody") is None
    assert not await platform.cancel_job("nobody")


def test_the_folder_is_made_when_it_is_asked_for_and_goes_with_the_platform() -> None:
    platform = Recorder()
    folder = Path(platform.output_dir)
    assert platform.output_dir == str(folder)
    (folder / "a").write_text("kept")
    del platform
    gc.collect()
    assert not folder.exists()


def test_a_chute_that_was_never_attached_is_the_first_attempt_of_a_job_that_goes_on() -> None:
    chute = Chute(username="me", name="alone")
    assert (chute.current_job_id, chute.attempt, chute.should_shutdown, list(chute.job_ports)) == (
        "local",
        1,
        False,
        [],
    )
