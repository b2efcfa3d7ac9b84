"""The promises of interfaces.Store, for the one on disk and for its twin in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, NewEvent, Outcome, Stop, StopCause, Viewer
from agent.errors import Phase
from agent.interfaces import (
    BodyConflictError,
    Finished,
    ForeignIdError,
    JobQuery,
    NewJob,
    QueueFullError,
    StaleError,
    Store,
    Token,
)
from tests.contract.store_values import (
    ANN,
    BOB,
    PLENTY,
    ROOT,
    TestedStore,
    WallClock,
    accepted,
    closed,
    finished,
    request,
    stopped,
    told,
    with_everything,
)


async def ids(store: TestedStore, viewer: Viewer = ROOT, **query: object) -> list[str]:
    return [job.id for job in await store.page(JobQuery(**query), viewer)]  # type: ignore[arg-type] # fields of JobQuery


async def all_told(store: TestedStore, viewer: Viewer = ROOT, job: str | None = None) -> list[object]:
    return [event.data.get("what", event.type) for event in await store.events(viewer, 0, job, PLENTY)]


async def test_both_are_the_port(store: TestedStore) -> None:
    port: Store = store
    assert await port.unfinished() == []


# accept


async def test_a_functions_row_has_its_call(store: TestedStore) -> None:
    call = FunctionCall("trainer", "v1", "train", "main.py", parent="p", depth=1)
    job = await accepted(store, "f", call=call)
    assert (job.kind, job.call) == (Kind.FUNCTION, call)
    assert await store.read("f") == job
    assert await store.forget("f", ROOT) is Finished.NOT_FINISHED


async def test_what_the_agent_runs_for_itself_is_listed_only_where_it_is_asked_for(
    store: TestedStore,
) -> None:
    call = FunctionCall("trainer", "v1", None, "main.py")
    await accepted(store, "d", call=call, labels={"a": "b"})
    await accepted(store, "c", labels={"a": "b"})
    for query in (JobQuery(), JobQuery(labels=(("a", "b"),)), JobQuery(phases=(Phase.QUEUED,))):
        assert [job.id for job in await store.page(query, ROOT)] == ["c"]
    assert await ids(store, kind=Kind.DESCRIBE) == ["d"]
    assert [job.id for job in await store.unfinished()] == ["d", "c"]


async def test_an_accepted_job_is_queued_in_its_place_with_its_first_event(store: TestedStore) -> None:
    first = await store.accept(request("a", at=10.0), PLENTY)
    second = await store.accept(request("b", at=11.0), PLENTY)
    assert not first.is_replay
    assert (first.job.phase, first.job.attempt, first.job.version) == (Phase.QUEUED, 1, 0)
    assert (first.job.created_at, first.job.queued_at) == (10.0, 10.0)
    assert first.job.seq < second.job.seq
    assert await store.read("a") == first.job
    (event,) = await store.events(ROOT, 0, "a", 10)
    assert (event.n, event.type, event.job, event.owner, event.at) == (1, "job.accepted", "a", "ann", 10.0)
    assert event.data["from"] is None
    assert event.data["to"] == "queued"


async def test_secrets_are_masked_before_they_are_kept_or_answered(store: TestedStore) -> None:
    job = await accepted(
        store, secrets={"TOKEN": "hunter2"}, registry={"username": "u", "password": "hunter3"}
    )
    kept = await store.read("a")
    assert kept == job
    assert "hunter" not in job.spec.model_dump_json()
    assert set(job.spec.secrets) == {"TOKEN"}


async def test_not_before_of_the_spec_is_the_rows(store: TestedStore) -> None:
    job = await accepted(store, not_before="2030-01-01T00:00:00Z")
    assert job.not_before == 1_893_456_000.0
    assert await store.read("a") == job


@pytest.mark.parametrize("again", [request("a"), request("other", key="k")], ids=["id", "key"])
async def test_the_same_request_again_is_answered_with_the_first_job(
    store: TestedStore, again: NewJob
) -> None:
    first = await store.accept(request("a", key="k"), PLENTY)
    moved = await store.save(replace(first.job, phase=Phase.STARTING))
    replay = await store.accept(again, PLENTY)
    assert replay.is_replay
    assert replay.job == moved
    assert await all_told(store) == ["job.accepted"]
    assert await store.job_ids() == {"a"}


@pytest.mark.parametrize("again", [request("a", body="other"), request("b", key="k", body="other")])
async def test_another_body_for_a_used_id_or_key_is_refused(store: TestedStore, again: NewJob) -> None:
    await accepted(store, "a", key="k")
    with pytest.raises(BodyConflictError):
        await store.accept(again, PLENTY)
    assert await store.job_ids() == {"a"}


async def test_a_key_belongs_to_its_principal(store: TestedStore) -> None:
    await accepted(store, "a", "ann", key="k")
    other = await store.accept(request("b", "bob", key="k", body="other"), PLENTY)
    assert not other.is_replay
    assert other.job.id == "b"


async def test_an_id_of_another_principal_does_not_exist_and_can_not_be_taken(store: TestedStore) -> None:
    first = await accepted(store, "a", "ann")
    with pytest.raises(ForeignIdError):
        await store.accept(request("a", "bob"), PLENTY)
    assert await store.read("a") == first


async def test_a_full_queue_refuses_new_jobs_and_answers_replays(store: TestedStore) -> None:
    await store.accept(request("a", key="k"), 2)
    await store.accept(request("b"), 2)
    with pytest.raises(QueueFullError):
        await store.accept(request("c"), 2)
    assert (await store.accept(request("x", key="k"), 2)).is_replay
    assert (await store.accept(request("b"), 2)).is_replay
    assert await store.job_ids() == {"a", "b"}
    assert len(await all_told(store)) == 2


async def test_only_the_principals_own_queued_jobs_fill_its_queue(store: TestedStore) -> None:
    await accepted(store, "x", "bob")
    job = await accepted(store, "a")
    await store.save(replace(job, phase=Phase.STARTING))
    await finished(store, "b")
    assert not (await store.accept(request("c"), 1)).is_replay


async def test_twenty_requests_of_one_key_at_once_make_one_job(store: TestedStore) -> None:
    answers = await asyncio.gather(
        *(store.accept(request(f"j{number}", key="k"), PLENTY) for number in range(20))
    )
    assert len({answer.job.id for answer in answers}) == 1
    assert sum(not answer.is_replay for answer in answers) == 1


async def test_a_seq_of_a_forgotten_job_is_not_given_again(store: TestedStore) -> None:
    job = await finished(store, "a")
    await store.forget("a", ANN)
    again = await accepted(store, "a", image="debian:13")
    assert again.seq > job.seq
    assert again.spec.image == "debian:13"
    assert await store.read("a") == again


# save


async def test_a_saved_row_is_read_as_it_was_written(store: TestedStore) -> None:
    job = await accepted(store, labels={"team": "ä"}, ports=[{"name": "http", "port": 8080, "proto": "http"}])
    wanted = with_everything(job)
    assert not {
        item.name for item in fields(Job) if getattr(job, item.name) == getattr(wanted, item.name)
    } - {"id", "owner", "kind", "spec", "created_at", "seq", "version"}
    written = await store.save(wanted)
    assert written == replace(wanted, version=1)
    assert await store.read("a") == written
    assert await store.unfinished() == [written]


async def test_a_stale_row_is_refused_and_leaves_nothing(store: TestedStore) -> None:
    job = await accepted(store)
    current = await store.save(replace(job, waiting_for="gpus"), [told("first")])
    with pytest.raises(StaleError):
        await store.save(replace(job, waiting_for="ports"), [told("second")], closed(1))
    assert await store.read("a") == current
    assert await store.attempts("a") == []
    assert await all_told(store) == ["job.accepted", "first"]


async def test_a_row_that_is_gone_is_stale(store: TestedStore) -> None:
    job = await finished(store)
    await store.forget("a", ANN)
    with pytest.raises(StaleError):
        await store.save(job, [told()])
    assert await all_told(store) == []


async def test_a_closed_attempt_comes_with_its_row_and_is_closed_once(store: TestedStore) -> None:
    job = await accepted(store)
    first, again = closed(1, Outcome.FAILED), closed(1, Outcome.LOST)
    job = await store.save(replace(job, attempt=2), (), first)
    job = await store.save(job, (), again)
    await store.save(replace(job, attempt=3), (), closed(2))
    assert await store.attempts("a") == [first, closed(2)]
    assert await store.attempts("unknown") == []


async def test_attempts_of_many_jobs_are_read_at_once_each_in_order(store: TestedStore) -> None:
    job = await accepted(store, "a")
    await accepted(store, "b")
    other = await accepted(store, "c")
    await store.save(replace(other, attempt=2), (), closed(1))
    for number in (2, 10):
        job = await store.save(replace(job, attempt=number), (), closed(number))
    assert await store.attempts_of(["c", "unknown", "a", "b"]) == {
        "c": [closed(1)],
        "unknown": [],
        "a": [closed(2), closed(10)],
        "b": [],
    }
    assert await store.attempts_of([]) == {}


# change


async def test_a_change_is_decided_on_the_row_as_it_is_and_written_with_its_events(
    store: TestedStore, clock: WallClock
) -> None:
    job = await accepted(store)
    job = await store.save(replace(job, waiting_for="gpus"))
    clock.seconds = 77.0
    changed = await store.change("a", ANN, stopped)
    assert changed == replace(stopped(job)[0], version=2)
    assert await store.read("a") == changed
    assert [event.at for event in await store.events(ANN, 0, "a", 9)] == [10.0, 77.0]


@pytest.mark.parametrize(("job_id", "viewer"), [("a", BOB), ("unknown", ANN), ("unknown", ROOT)])
async def test_a_job_that_the_viewer_can_not_see_is_not_changed(
    store: TestedStore, job_id: str, viewer: Viewer
) -> None:
    job = await accepted(store)
    asked: list[Job] = []

    def note(row: Job) -> tuple[Job, Sequence[NewEvent]]:
        asked.append(row)
        return stopped(row)

    assert await store.change(job_id, viewer, note) is None
    assert asked == []
    assert await store.read("a") == job


async def test_a_row_returned_unchanged_keeps_its_version(store: TestedStore) -> None:
    job = await accepted(store)
    assert await store.change("a", ANN, lambda row: (replace(row), [])) == job
    assert await store.read("a") == job
    assert await all_told(store) == ["job.accepted"]


async def test_a_decision_that_raises_writes_nothing(store: TestedStore) -> None:
    job = await accepted(store)

    def refuse(row: Job) -> tuple[Job, Sequence[NewEvent]]:
        raise LookupError(row.id)

    with pytest.raises(LookupError, match="a"):
        await store.change("a", ANN, refuse)
    assert await store.read("a") == job
    await store.change("a", ANN, stopped)


async def test_changes_at_once_are_all_there(store: TestedStore) -> None:
    await accepted(store)
    await asyncio.gather(
        *(
            store.change("a", ANN, lambda row: (replace(row, port_moves=row.port_moves + 1), [told()]))
            for _ in range(20)
        )
    )
    job = await store.read("a")
    assert job is not None
    assert (job.port_moves, job.version) == (20, 20)
    assert [event.n for event in await store.events(ANN, 0, "a", 99)] == list(range(1, 22))


# grant


async def test_a_grant_sees_the_unfinished_rows_oldest_first_and_writes_the_chosen(
    store: TestedStore,
) -> None:
    for name in ("z", "m", "a"):
        await accepted(store, name)
    await finished(store, "done")
    seen: list[str] = []

    def choose(jobs: Sequence[Job]) -> list[tuple[Job, list[NewEvent]]]:
        seen.extend(job.id for job in jobs)
        return [(replace(job, phase=Phase.STARTING), [told(job.id)]) for job in jobs if job.id != "m"]

    granted = await store.grant(choose)
    assert seen == ["z", "m", "a"]
    assert [(job.id, job.phase, job.version) for job in granted] == [
        ("z", Phase.STARTING, 1),
        ("a", Phase.STARTING, 1),
    ]
    assert [job.phase for job in await store.unfinished()] == [Phase.STARTING, Phase.QUEUED, Phase.STARTING]
    assert (await all_told(store))[-2:] == ["z", "a"]


async def test_a_grant_is_whole_or_not_at_all(store: TestedStore) -> None:
    await accepted(store, "a")
    await accepted(store, "b")
    before = await store.unfinished()

    def choose(jobs: Sequence[Job]) -> list[tuple[Job, list[NewEvent]]]:
        good = replace(jobs[0], phase=Phase.STARTING)
        return [(good, [told()]), (replace(jobs[1], version=99), [told()])]

    with pytest.raises(StaleError):
        await store.grant(choose)
    assert await store.unfinished() == before
    assert await all_told(store) == ["job.accepted", "job.accepted"]
    # What was rolled back is not remembered either.
    assert await store.grant(lambda jobs: [(replace(jobs[0], phase=Phase.STARTING), [])]) == [
        replace(before[0], phase=Phase.STARTING, version=1)
    ]


# events


async def test_events_are_numbered_without_a_gap_in_each_job_and_in_order_over_all(
    store: TestedStore,
) -> None:
    a, b = await accepted(store, "a"), await accepted(store, "b")
    a = await store.save(a, [told("a2"), told("a3")])
    await store.append_event("b", told("b2"))
    await store.save(a, [told("a4")])
    await store.save(b, [told("b3")])
    events = await store.events(ROOT, 0, None, PLENTY)
    assert [(event.job, event.n) for event in events] == [
        ("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2), ("a", 4), ("b", 3),
    ]  # fmt: skip
    seqs = [event.seq for event in events]
    assert seqs == sorted(set(seqs))
    assert await store.last_event_seq() == seqs[-1]
    assert await store.events(ROOT, seqs[2], None, 2) == events[3:5]
    assert await store.events(ROOT, seqs[2], "a", 9) == [events[3], events[5]]
    assert await store.events(ROOT, seqs[-1], None, 9) == []


async def test_an_event_for_a_job_that_is_gone_is_dropped(store: TestedStore) -> None:
    await store.append_event("gone", told())
    assert await all_told(store) == []
    assert await store.last_event_seq() == 0


async def test_who_follows_events_is_woken_by_each_transaction_that_wrote_some(store: TestedStore) -> None:
    woken: list[asyncio.AbstractEventLoop] = []
    store.on_events(lambda: woken.append(asyncio.get_running_loop()))
    job = await accepted(store)
    assert len(woken) == 1
    job = await store.save(job, [told(), told()])
    assert len(woken) == 2
    job = await store.save(replace(job, waiting_for="gpus"))
    await store.append_event("gone", told())
    await store.set_meta("k", "v")
    await store.events(ROOT, 0, None, 9)
    with pytest.raises(StaleError):
        await store.save(replace(job, version=0), [told()])
    assert len(woken) == 2
    await store.append_event("a", told())
    await store.change("a", ANN, stopped)
    await store.grant(lambda jobs: [(jobs[0], [told()])])
    assert woken == [asyncio.get_running_loop()] * 5


# lists


async def test_a_page_is_newest_first_and_the_next_one_goes_on_where_it_ended(store: TestedStore) -> None:
    for number in range(7):
        await accepted(store, f"j{number}", "ann" if number % 2 else "bob")
    seen: list[str] = []
    before = None
    while jobs := await store.page(JobQuery(before_seq=before, limit=2), ROOT):
        seen += [job.id for job in jobs]
        before = jobs[-1].seq
        await accepted(store, f"new{len(seen)}")  # what comes meanwhile moves no page
    assert seen == [f"j{number}" for number in reversed(range(7))]
    assert await ids(store, BOB) == ["j6", "j4", "j2", "j0"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"phases": (Phase.FINISHED,)}, ["d", "c"]),
        ({"phases": (Phase.QUEUED, Phase.RUNNING)}, ["b2", "b1", "a"]),
        ({"phases": (Phase.QUEUED, Phase.FINISHED)}, ["d", "c", "b2", "a"]),
        ({"phases": (Phase.UPLOADING,)}, []),
        ({"queue": "slow"}, ["b2", "b1"]),
        ({"queue": "slow", "phases": (Phase.RUNNING,)}, ["b1"]),
        ({"kind": Kind.CONTAINER}, ["d", "c", "b2", "b1", "a"]),
        ({"id_prefix": "b"}, ["b2", "b1"]),
        ({"id_prefix": "b1"}, ["b1"]),
        ({"id_prefix": "_"}, []),
        ({"id_prefix": ""}, ["d", "c", "b2", "b1", "a"]),
        ({"labels": (("team", "x"),)}, ["d", "c", "a"]),
        ({"labels": (("team", "x"), ("tier", "1"))}, ["d", "a"]),
        ({"labels": (("tier", "1"), ("team", "x"))}, ["d", "a"]),
        ({"labels": (("team", "1"),)}, []),
        ({"labels": (("team", "x"),), "phases": (Phase.QUEUED,)}, ["a"]),
        ({"labels": (("team", "x"),), "phases": (Phase.FINISHED,), "limit": 1}, ["d"]),
        ({"labels": (("team", "x"),), "before_seq": 4}, ["a"]),
        ({"labels": (("team", "y"),), "queue": "slow", "id_prefix": "b"}, ["b2"]),
        ({"before_seq": 3}, ["b1", "a"]),
        ({"phases": (Phase.QUEUED,), "before_seq": 3}, ["a"]),
    ],
)
async def test_each_filter_narrows_a_list(
    store: TestedStore, query: dict[str, object], expected: list[str]
) -> None:
    await accepted(store, "a", labels={"team": "x", "tier": "1"})
    running = await accepted(store, "b1", queue="slow")
    await store.save(replace(running, phase=Phase.RUNNING))
    await accepted(store, "b2", "bob", queue="slow", labels={"team": "y"})
    await finished(store, "c", "bob", labels={"team": "x"})
    await finished(store, "d", labels={"team": "x", "tier": "1"})
    assert await ids(store, ROOT, **query) == expected
    mine = [job_id for job_id in expected if job_id in ("b2", "c")]
    if "limit" not in query:
        assert await ids(store, BOB, **query) == mine


async def test_unfinished_rows_come_oldest_first(store: TestedStore) -> None:
    for name in ("c", "b", "a"):
        await accepted(store, name)
    await finished(store, "done")
    assert [job.id for job in await store.unfinished()] == ["c", "b", "a"]


async def test_retention_is_told_of_finished_jobs_oldest_end_first(store: TestedStore) -> None:
    await finished(store, "late", at=30.0)
    await finished(store, "early", at=20.0)
    await finished(store, "edge", at=40.0)
    uploading = await accepted(store, "uploading")
    await store.save(replace(uploading, phase=Phase.UPLOADING, finished_at=1.0))
    assert await store.finished_before(40.0, 9) == ["early", "late"]
    assert await store.finished_before(40.0, 1) == ["early"]
    assert await store.job_ids() == {"late", "early", "edge", "uploading"}


# forget


async def test_only_a_finished_job_is_forgotten_with_all_that_was_told_of_it(store: TestedStore) -> None:
    await accepted(store, "busy")
    await finished(store, "a", labels={"team": "x"}, key="k")
    last = await store.last_event_seq()
    assert await store.forget("busy", ANN) is Finished.NOT_FINISHED
    assert await store.forget("unknown", ANN) is Finished.UNKNOWN
    assert await store.forget("a", ANN) is Finished.FORGOTTEN
    assert await store.forget("a", ANN) is Finished.UNKNOWN
    assert await store.read("a") is None
    assert await store.attempts("a") == []
    assert await all_told(store) == ["job.accepted"]
    assert await ids(store, labels=(("team", "x"),)) == []
    assert await store.last_event_seq() == last
    again = await store.accept(request("new", key="k", body="other"), PLENTY)
    assert not again.is_replay


async def test_an_event_seq_of_a_forgotten_job_is_not_given_again(store: TestedStore) -> None:
    await finished(store, "a")
    last = await store.last_event_seq()
    await store.forget("a", ANN)
    await accepted(store, "b")
    assert [event.seq > last for event in await store.events(ROOT, 0, None, 9)] == [True]


# principals (I10)


async def test_another_principal_sees_nothing_of_a_job_through_any_method(store: TestedStore) -> None:
    await accepted(store, "a", "ann", key="k", labels={"team": "x"})
    done = await finished(store, "b", "ann", labels={"team": "x"})
    for query in (
        JobQuery(),
        JobQuery(phases=(Phase.QUEUED,)),
        JobQuery(phases=(Phase.FINISHED,)),
        JobQuery(labels=(("team", "x"),)),
        JobQuery(labels=(("team", "x"),), phases=(Phase.QUEUED,)),
        JobQuery(id_prefix="a"),
        JobQuery(queue="default", kind=Kind.CONTAINER, before_seq=99),
    ):
        assert await store.page(query, BOB) == []
        assert await store.page(query, ANN) != []
    assert await store.get("a", BOB) is None
    assert await store.change("a", BOB, stopped) is None
    assert await store.forget("b", BOB) is Finished.UNKNOWN
    assert await store.events(BOB, 0, None, 99) == []
    assert await store.events(BOB, 0, "a", 99) == []
    with pytest.raises(ForeignIdError):
        await store.accept(request("a", "bob", key="k"), PLENTY)
    assert not (await store.accept(request("c", "bob", key="k"), 1)).is_replay
    assert await store.get("b", ANN) == done
    assert [event.job for event in await store.events(BOB, 0, None, 99)] == ["c"]


async def test_who_sees_all_sees_and_changes_the_jobs_of_others(store: TestedStore) -> None:
    job = await accepted(store, "a", "ann")
    assert await store.get("a", ROOT) == job
    assert await ids(store, ROOT) == ["a"]
    assert len(await store.events(ROOT, 0, "a", 9)) == 1
    assert await store.change("a", ROOT, stopped) is not None


# the rest


async def test_tokens_are_kept_until_they_are_removed(store: TestedStore) -> None:
    first = Token("t1", "laptop", "ann", ("jobs:read", "jobs:write"), "digest-1", 1.0, None)
    second = Token("t2", "ci", "bob", (), "digest-2", 2.0, 9.5, 3.0)
    await store.add_token(second)
    await store.add_token(first)
    assert await store.tokens() == [first, second]
    await store.token_used("t1", 4.5)
    await store.token_used("unknown", 4.5)
    assert await store.tokens() == [replace(first, last_used_at=4.5), second]
    assert await store.remove_token("t2")
    assert not await store.remove_token("t2")
    assert await store.tokens() == [replace(first, last_used_at=4.5)]


async def test_meta_holds_the_last_value_of_a_key(store: TestedStore) -> None:
    assert await store.meta("drain") is None
    await store.set_meta("drain", "one")
    await store.set_meta("drain", "two")
    assert await store.meta("drain") == "two"
    assert await store.meta("other") is None


async def test_an_imported_row_keeps_its_phase_and_never_replaces_one(store: TestedStore) -> None:
    template = await accepted(store, "there")
    lost = replace(with_everything(template), id="a", phase=Phase.RUNNING, seq=0)
    imported = await store.import_job(lost)
    assert imported == replace(lost, seq=imported.seq)
    assert imported.seq > template.seq
    assert await store.read("a") == imported
    assert await store.import_job(replace(lost, phase=Phase.QUEUED)) == imported
    assert await store.unfinished() == [template, imported]
    with pytest.raises(BodyConflictError):
        await store.accept(request("a"), PLENTY)
    assert (await store.save(imported, [told()])).version == 1
    assert [event.n for event in await store.events(ROOT, 0, "a", 9)] == [1]


async def test_the_health_of_gpus_is_kept_each_as_it_was_last(store: TestedStore) -> None:
    assert await store.gpu_healths() == {}
    await store.keep_gpu_healths({"GPU-1": "{}", "GPU-2": "[2]"})
    await store.keep_gpu_healths({"GPU-2": "[3]"})
    await store.keep_gpu_healths({})
    assert await store.gpu_healths() == {"GPU-1": "{}", "GPU-2": "[3]"}


async def test_a_gpus_health_and_what_it_does_to_jobs_are_kept_together(store: TestedStore) -> None:
    job = await accepted(store)

    def stop(job: Job) -> tuple[Job, list[NewEvent]]:
        return replace(job, attempt_stop=Stop(StopCause.GPU_FAULT, 1.0)), [NewEvent("job.stop_requested", {})]

    await store.keep_gpu_healths({"GPU-1": "{}"}, [(job.id, stop), ("gone", stop)])
    stopped = await store.read(job.id)
    assert stopped is not None
    assert stopped.attempt_stop == Stop(StopCause.GPU_FAULT, 1.0)
    assert await store.gpu_healths() == {"GPU-1": "{}"}
