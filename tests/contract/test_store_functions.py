"""The promises of interfaces.FunctionStore, for the one on disk and for its twin in memory."""

import json
from dataclasses import replace

from agent.core.function import FunctionCall
from agent.core.metrics import Metric
from agent.core.told import Progress, Told
from agent.interfaces import Finished, FunctionStore, Telling
from tests.contract.store_values import ROOT, TestedStore, accepted, finished, told

CALL = FunctionCall("trainer", "v1", "train", "main.py")
CHILD = FunctionCall("trainer", "v1", "step", "main.py", parent="f", depth=1)


def loss(*values: float) -> Metric:
    metric = Metric()
    for at, value in enumerate(values):
        metric.add(value, float(at))
    return metric


async def test_both_are_the_port(store: TestedStore) -> None:
    port: FunctionStore = store
    assert await port.progress_of([]) == {}


async def test_a_job_has_told_nothing_until_it_does(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    await accepted(store, "c")
    assert (await store.told("f"), await store.told("c"), await store.told("nobody")) == (Told(),) * 3
    assert await store.progress_of(["f", "c", "nobody"]) == {"f": None}
    assert (await store.told_briefly("f"), await store.told_briefly("c")) == (Told(), Told())
    assert (await store.series("f"), await store.series("nobody")) == ({}, {})


async def test_what_was_told_is_kept_with_its_number_and_its_events(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    metrics = {"loss": loss(3, 2.5), "état": loss(1)}
    progress = Progress(12.5, "läuft")
    await store.keep_told(
        [Telling("f", 2, 7, progress, {"b": "done", "a": "wait"}, metrics, [told("job.progress")])]
    )
    kept = await store.told("f")
    assert kept == Told(2, 7, progress, {"b": "done", "a": "wait"}, metrics)
    assert list(kept.statuses) == ["b", "a"]
    assert [event.type for event in await store.events(ROOT, 0, "f", 9)] == [
        "job.accepted",
        told("job.progress").type,
    ]


async def test_a_name_that_did_not_change_stays_and_its_points_can_be_left_out(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    await store.keep_told([Telling("f", 1, 1, None, {}, {"a": loss(1), "b": loss(2)})])
    await store.keep_told([Telling("f", 1, 2, None, {}, {"b": loss(2, 3)})])
    assert (await store.told("f")).metrics == {"a": loss(1), "b": loss(2, 3)}
    brief = (await store.told_briefly("f")).metrics
    assert [(metric.count, metric.last, metric.points) for metric in brief.values()] == [
        (1, 1, []),
        (2, 3, []),
    ]


async def test_series_are_given_out_as_json_and_as_they_were(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    many = loss(*(0.1 * number for number in range(700)), 2**53, 1e-9, 0)
    await store.keep_told([Telling("f", 1, 1, Progress(3, "x"), {}, {"a": many, "t": Metric()})])
    series = await store.series("f")
    assert {name: json.loads(points) for name, points in series.items()} == {
        "a": [list(point) for point in many.points],
        "t": [],
    }
    assert (await store.told("f")).metrics["a"] == many
    assert await store.progress_of(["f"]) == {"f": Progress(3, "x")}


async def test_the_tellings_of_several_jobs_are_one_write_and_one_that_is_gone_is_fine(
    store: TestedStore,
) -> None:
    for job_id in ("f", "g"):
        await accepted(store, job_id, call=CALL)
    await store.keep_told([Telling(job_id, 1, 5, Progress(1, None), {}) for job_id in ("f", "gone", "g")])
    assert [(await store.told(job_id)).seq for job_id in ("f", "gone", "g")] == [5, 0, 5]


async def test_children_are_found_by_their_parent_in_their_order(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    for job_id in ("z", "a", "m"):
        await accepted(store, job_id, call=CHILD)
    assert await store.children_of(["f", "a"]) == {"f": ["z", "a", "m"], "a": []}


async def test_what_a_job_told_goes_with_it(store: TestedStore) -> None:
    await finished(store, "f", call=CALL)
    await store.keep_told([Telling("f", 1, 1, None, {}, {"a": loss(1)})])
    assert await store.forget("f", ROOT) is Finished.FORGOTTEN
    await accepted(store, "f", call=CALL)
    assert await store.told("f") == Told()


async def test_a_row_that_a_repair_gives_back_may_tell_as_any_other(store: TestedStore) -> None:
    job = await accepted(store, "f", call=CALL)
    await store.import_job(replace(job, id="g"))
    await store.keep_told([Telling("g", 1, 5, Progress(1, None), {})])
    assert (await store.told("g")).seq == 5


async def test_text_that_is_no_text_does_not_break_the_row(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    await store.keep_told([Telling("f", 1, 1, Progress(None, "a\0b"), {"": ""}, {"nul\0": loss(1e308)})])
    kept = await store.told("f")
    assert kept.progress == Progress(None, "a\0b")
    assert list(kept.metrics) == ["nul\0"]
