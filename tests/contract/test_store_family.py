"""Jobs that came of one job: drawn, stopped together, and none let in after that; for the store on disk and its twin in memory."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from agent.core.family import Family
from agent.core.function import FunctionCall
from agent.core.job import Job, NewEvent, Outcome
from agent.errors import Phase
from agent.interfaces import BodyConflictError, FamilyCancelledError, Finished
from tests.contract.store_values import ANN, BOB, PLENTY, REASON, ROOT, TestedStore, accepted, finished, told

CALL = FunctionCall("trainer", "v1", "train", "main.py")
Changed = tuple[Job, Sequence[NewEvent]]
Decide = Callable[[Job, Sequence[Job]], Sequence[Changed]]


def below(parent: str, depth: int = 1) -> FunctionCall:
    return replace(CALL, function="step", parent=parent, depth=depth)


async def family(store: TestedStore, job_id: str, limit: int = PLENTY) -> Family:
    found = await store.family(job_id, ANN, limit)
    assert found is not None
    return found


async def grow(store: TestedStore, width: int = 2, depth: int = 3) -> None:
    """First "r"; below it "r0" and "r1", below these "r00", "r01" and so on: level by level."""
    await accepted(store, "r", call=CALL)
    for level in range(1, depth + 1):
        for path in itertools.product("0123456789"[:width], repeat=level):
            name = "r" + "".join(path)
            await accepted(store, name, call=below(name[:-1], level))


async def test_each_job_stands_before_its_children_and_these_before_its_next_sibling(
    store: TestedStore,
) -> None:
    await grow(store)
    drawn = await family(store, "r")
    assert [(one.id, one.depth) for one in drawn.relatives] == [
        ("r", 0),
        *[("r0", 1), ("r00", 2), ("r000", 3), ("r001", 3), ("r01", 2), ("r010", 3), ("r011", 3)],
        *[("r1", 1), ("r10", 2), ("r100", 3), ("r101", 3), ("r11", 2), ("r110", 3), ("r111", 3)],
    ]
    assert (drawn.root, drawn.is_cut) == ("r", False)


async def test_a_job_in_the_middle_is_the_first_of_its_own_and_names_the_topmost(store: TestedStore) -> None:
    await grow(store)
    drawn = await family(store, "r01")
    assert [(one.id, one.depth, one.parent) for one in drawn.relatives] == [
        ("r01", 0, "r0"),
        ("r010", 1, "r01"),
        ("r011", 1, "r01"),
    ]
    assert drawn.root == "r"


async def test_more_than_are_asked_for_are_left_out_and_it_is_said(store: TestedStore) -> None:
    await grow(store)
    drawn = await family(store, "r", 5)
    assert [one.id for one in drawn.relatives] == ["r", "r0", "r00", "r000", "r001"]
    assert drawn.is_cut
    assert not (await family(store, "r", 15)).is_cut


async def test_a_container_job_is_a_family_of_one(store: TestedStore) -> None:
    await accepted(store, "c", name="alone")
    (one,) = (await family(store, "c")).relatives
    assert (one.id, one.name, one.function, one.parent, one.phase) == (
        "c",
        "alone",
        None,
        None,
        Phase.QUEUED,
    )


async def test_what_is_told_of_each_is_what_its_row_says(store: TestedStore) -> None:
    job = await accepted(store, "f", call=CALL, name="mine", at=10.5)
    ended = replace(
        job,
        phase=Phase.FINISHED,
        outcome=Outcome.FAILED,
        reason=REASON,
        attempt=3,
        started_at=13.0,
        finished_at=17.5,
    )
    await store.save(ended)
    (one,) = (await family(store, "f")).relatives
    assert (one.name, one.function, one.outcome, one.reason_code) == (
        "mine",
        "train",
        Outcome.FAILED,
        REASON.code,
    )
    assert (one.attempt, one.created_at, one.started_at, one.finished_at) == (3, 10.5, 13.0, 17.5)


async def test_nothing_of_another_principal_is_in_a_family_and_his_jobs_have_none(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    await accepted(store, "stranger", "bob", call=below("f"))
    assert [one.id for one in (await family(store, "f")).relatives] == ["f"]
    assert await store.family("f", BOB, PLENTY) is None
    assert await store.family("nobody", ROOT, PLENTY) is None
    of_bob = await store.family("stranger", BOB, PLENTY)
    assert of_bob is not None
    assert of_bob.root == "stranger"
    seen = await store.family("f", ROOT, PLENTY)
    assert seen is not None
    assert [one.id for one in seen.relatives] == ["f", "stranger"]


async def test_below_a_job_that_was_forgotten_another_is_the_topmost(store: TestedStore) -> None:
    await finished(store, "f", call=CALL)
    await accepted(store, "g", call=below("f"))
    await accepted(store, "h", call=below("g", 2))
    assert await store.forget("f", ANN) is Finished.FORGOTTEN
    drawn = await family(store, "h")
    assert (drawn.root, (await family(store, "g")).relatives[0].parent) == ("g", "f")


async def test_rows_that_name_each_other_end_the_search(store: TestedStore) -> None:
    await accepted(store, "a", call=below("b"))
    await accepted(store, "b", call=below("a"))
    if not hasattr(store, "peek"):  # the twin has no such rows to be found in a damaged file
        assert len((await family(store, "a", 10)).relatives) == 10
        assert await change(store, "a", lambda job, others: [(one, []) for one in (job, *others)]) == [
            "a",
            "b",
        ]


# changing all of it at once


async def change(store: TestedStore, job_id: str, decide: Decide) -> list[str]:
    written = await store.change_family(job_id, ANN, decide)
    assert written is not None
    return [job.id for job in written]


def moved(job: Job) -> Job:
    return replace(job, port_moves=job.port_moves + 1)


async def test_the_unfinished_ones_below_are_given_out_oldest_first_and_written_together(
    store: TestedStore,
) -> None:
    await grow(store, depth=2)
    for name in ("r0", "r11"):
        job = await store.read(name)
        assert job is not None
        await store.save(replace(job, phase=Phase.FINISHED, finished_at=20.0))
    seen: list[str] = []

    def decide(job: Job, others: Sequence[Job]) -> Sequence[Changed]:
        seen.extend(other.id for other in others)
        return [(job, [told("family")]), *[(moved(other), [told(other.id)]) for other in others]]

    before = await store.last_event_seq()
    assert await change(store, "r", decide) == ["r", "r1", "r00", "r01", "r10"]
    assert seen == ["r1", "r00", "r01", "r10"]
    assert [event.job for event in await store.events(ROOT, before, None, 9)] == ["r", *seen]
    rows = [await store.read(name) for name in ("r", "r0", *seen)]
    assert [row and row.port_moves for row in rows] == [0, 0, 1, 1, 1, 1]
    assert [row and row.version for row in rows] == [0, 1, 1, 1, 1, 1]


async def test_a_finished_job_has_unfinished_ones_below_it_and_may_be_told_of(store: TestedStore) -> None:
    await finished(store, "f", call=CALL)
    await accepted(store, "g", call=below("f"))

    def decide(job: Job, others: Sequence[Job]) -> Sequence[Changed]:
        return [(job, [told("family")]), *[(moved(other), []) for other in others]]

    assert await change(store, "f", decide) == ["f", "g"]
    assert [event.n for event in await store.events(ROOT, 0, "f", 9)] == [1, 2, 3]


async def test_one_in_the_middle_leaves_those_above_and_beside_it_alone(store: TestedStore) -> None:
    await grow(store, depth=2)
    assert await change(store, "r1", lambda job, others: [(moved(one), []) for one in (job, *others)]) == [
        "r1",
        "r10",
        "r11",
    ]


async def test_a_decision_that_raises_changes_none_of_them(store: TestedStore) -> None:
    await grow(store, depth=1)

    def decide(_job: Job, _others: Sequence[Job]) -> Sequence[Changed]:
        raise BodyConflictError("no")

    with pytest.raises(BodyConflictError):
        await change(store, "r", decide)
    assert [job.version for job in await store.unfinished()] == [0, 0, 0]


async def test_of_a_family_of_anothers_nothing_is_changed(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL)
    await accepted(store, "stranger", "bob", call=below("f"))

    def decide(job: Job, others: Sequence[Job]) -> Sequence[Changed]:
        return [(moved(one), []) for one in (job, *others)]

    assert await store.change_family("f", BOB, decide) is None
    assert await change(store, "f", decide) == ["f"]
    await accepted(store, "below", call=below("stranger", 2))
    assert await change(store, "f", decide) == ["f"], "nor what is one's own below it"


# nothing follows


async def test_a_parent_that_starts_no_more_gets_no_child_and_keeps_those_that_it_has(
    store: TestedStore,
) -> None:
    parent = await accepted(store, "f", call=CALL)
    await accepted(store, "g", call=below("f"))
    await store.save(replace(parent, starts_no_more=True))
    with pytest.raises(FamilyCancelledError):
        await accepted(store, "h", call=below("f"))
    assert await store.read("h") is None
    assert (await accepted(store, "g", call=below("f"))).id == "g"
    await accepted(store, "i", call=below("g", 2))


# keys


async def test_what_a_key_has_made_is_found_by_it_alone(store: TestedStore) -> None:
    await accepted(store, "f", call=CALL, key="k", body="b")
    found = await store.accepted_before("ann", "k", "b")
    assert found is not None
    assert found.id == "f"
    assert await store.accepted_before("bob", "k", "b") is None
    assert await store.accepted_before("ann", "other", "b") is None
    with pytest.raises(BodyConflictError):
        await store.accepted_before("ann", "k", "other")
