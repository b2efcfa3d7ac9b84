"""The promises of interfaces.ChuteStore, for the one on disk and for its twin in memory."""

from dataclasses import replace

import pytest

from agent.core.chute import (
    KEPT,
    MOST_CHUTES,
    TOO_MANY_CHUTES,
    Described,
    Version,
    VersionState,
    brief_of,
)
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Viewer
from agent.errors import Phase
from agent.interfaces import (
    MOST_CODE_BYTES,
    MOST_DESCRIBING,
    ChuteInUseError,
    NewJob,
    TooManyDeploysError,
    TooMuchCodeError,
)
from agent.spec import Entry, Fault, parse_spec
from tests.contract.store_values import ANN, BOB, PLENTY, ROOT, TestedStore
from tests.unit.chute_values import a_job, good

FAULTS = (Fault("jobs.a.timeout", "out_of_range", "must be more", "Write more."),)


def version(number: int, owner: str = "ann", digest: str | None = None) -> Version:
    return Version(
        id=f"0190b6a0-0000-7000-8000-{number:012d}",
        owner=owner,
        digest=digest or f"digest {number}",
        image="python:3.12",
        entry=Entry("main.py", "chute"),
        created_at=10.0 + number,
        defaults={"memory": 1 << 30},
    )


def named(name: str = "trainer") -> Described:
    return Described(good(a_job("train"), chute={"name": name}))


async def deployed(store: TestedStore, number: int, owner: str = "ann", name: str = "trainer") -> Version:
    added = (await store.add_version(version(number, owner))).version
    settled = await store.settle_version(added.id, named(name))
    assert settled is not None
    return settled


async def a_job_of(store: TestedStore, used: Version, job_id: str = "a", kind: Kind = Kind.FUNCTION) -> Job:
    call = FunctionCall(str(used.chute), used.id, "train", "main.py")
    spec = parse_spec({"image": "busybox"})
    new = NewJob(job_id, used.owner, kind, spec, 10.0, None, job_id, call=call)
    return (await store.accept(new, PLENTY)).job


async def test_a_version_is_kept_as_it_is(store: TestedStore) -> None:
    added = await store.add_version(version(1))
    assert not added.is_replay
    assert replace(added.version, seq=0) == version(1)
    assert await store.version(added.version.id, ANN) == added.version
    assert await store.describing() == [added.version]
    assert await store.version_ids() == {added.version.id}


async def test_the_same_deploy_is_the_version_that_is_there(store: TestedStore) -> None:
    first = await store.add_version(version(1, digest="same"))
    again = await store.add_version(version(2, digest="same"))
    assert (again.is_replay, again.version) == (True, first.version)
    active = await store.settle_version(first.version.id, named())
    assert (await store.add_version(version(3, digest="same"))).version == active


async def test_the_same_deploy_of_another_principal_is_his_own(store: TestedStore) -> None:
    await store.add_version(version(1, digest="same"))
    assert not (await store.add_version(version(2, "bob", digest="same"))).is_replay


@pytest.mark.parametrize("end", ["refused", "superseded"])
async def test_the_same_deploy_is_made_anew_where_the_earlier_one_is_no_more(
    store: TestedStore, end: str
) -> None:
    first = (await store.add_version(version(1, digest="same"))).version
    if end == "refused":
        await store.settle_version(first.id, Described(None, FAULTS))
    else:
        await store.settle_version(first.id, named())
        await deployed(store, 2)
    assert not (await store.add_version(version(3, digest="same"))).is_replay


async def test_only_so_many_deploys_of_one_are_under_way(store: TestedStore) -> None:
    for number in range(MOST_DESCRIBING):
        await store.add_version(version(number))
    with pytest.raises(TooManyDeploysError):
        await store.add_version(version(99))
    assert not (await store.add_version(version(100, "bob"))).is_replay


async def test_the_files_of_one_owners_versions_have_a_bound_in_which_refused_ones_do_not_count(
    store: TestedStore,
) -> None:
    half = MOST_CODE_BYTES // 2
    refused = (await store.add_version(replace(version(1), size_bytes=half + 1))).version
    with pytest.raises(TooMuchCodeError):
        await store.add_version(replace(version(2), size_bytes=half))
    await store.settle_version(refused.id, Described(None, FAULTS))
    added = (await store.add_version(replace(version(2), size_bytes=half))).version
    await store.settle_version(added.id, named())
    assert (await store.add_version(replace(version(3), size_bytes=half))).version.size_bytes == half
    with pytest.raises(TooMuchCodeError):
        await store.add_version(replace(version(4), size_bytes=1))
    assert (await store.add_version(replace(version(2), size_bytes=half))).is_replay
    assert not (await store.add_version(replace(version(5, "bob"), size_bytes=half))).is_replay


async def test_a_described_version_is_the_chute_and_the_one_before_it_stays(store: TestedStore) -> None:
    first, second = await deployed(store, 1), await deployed(store, 2)
    assert (first.state, first.number, first.chute) == (VersionState.ACTIVE, 1, "trainer")
    assert (second.state, second.number) == (VersionState.ACTIVE, 2)
    assert await store.chute("trainer", ANN) == second
    before, now = replace(first, state=VersionState.SUPERSEDED), second
    assert await store.versions_of(second) == [brief_of(now), brief_of(before)]
    assert await store.describing() == []


async def test_a_refused_version_tells_its_faults_and_changes_no_chute(store: TestedStore) -> None:
    active = await deployed(store, 1)
    added = (await store.add_version(version(2))).version
    refused = await store.settle_version(added.id, Described(None, FAULTS))
    assert refused == replace(added, state=VersionState.REFUSED, faults=FAULTS)
    assert await store.version(added.id, ANN) == refused
    assert await store.chute("trainer", ANN) == active
    assert await store.version_ids() == {active.id}


async def test_what_was_settled_is_never_settled_again(store: TestedStore) -> None:
    active = await deployed(store, 1)
    assert await store.settle_version(active.id, Described(None, FAULTS)) == active
    later = await deployed(store, 2)
    superseded = await store.settle_version(active.id, named())
    assert superseded is not None
    assert superseded.state is VersionState.SUPERSEDED
    assert await store.chute("trainer", ANN) == later
    assert await store.settle_version("no such version", named()) is None


async def test_a_chute_too_many_is_refused_and_a_new_version_of_one_is_not(store: TestedStore) -> None:
    for number in range(MOST_CHUTES):
        await deployed(store, number, name=f"c{number}")
    one_more = await deployed(store, 900, name="more")
    assert (one_more.state, one_more.faults) == (VersionState.REFUSED, (TOO_MANY_CHUTES,))
    assert (await deployed(store, 901, name="c0")).number == 2


async def test_what_is_anothers_is_not_there(store: TestedStore) -> None:
    mine, his = await deployed(store, 1), await deployed(store, 2, "bob")
    assert await store.chute("trainer", BOB) == his
    assert await store.chutes(ANN) == [brief_of(mine)]
    assert await store.version(mine.id, BOB) is None
    assert await store.chute("other", ANN) is None


async def test_who_sees_all_sees_his_own_first(store: TestedStore) -> None:
    mine, his = await deployed(store, 1), await deployed(store, 2, "bob")
    assert await store.chutes(ROOT) == [brief_of(mine), brief_of(his)]
    assert await store.chute("trainer", ROOT) == mine
    assert await store.chute("trainer", Viewer("bob", sees_all=True)) == his


async def test_chutes_are_listed_by_name(store: TestedStore) -> None:
    for number, name in enumerate(["c", "a", "b"]):
        await deployed(store, number, name=name)
    assert [found.chute for found in await store.chutes(ANN)] == ["a", "b", "c"]


async def test_a_chute_goes_with_all_its_versions_and_no_other(store: TestedStore) -> None:
    first, second = await deployed(store, 1), await deployed(store, 2)
    other, his = await deployed(store, 3, name="other"), await deployed(store, 4, "bob")
    assert set(await store.remove_chute(second)) == {first.id, second.id}
    assert await store.chute("trainer", ANN) is None
    assert await store.version_ids() == {other.id, his.id}


async def test_a_chute_whose_jobs_are_not_finished_stays(store: TestedStore) -> None:
    first = await deployed(store, 1)
    job = await a_job_of(store, first)
    second = await deployed(store, 2)
    with pytest.raises(ChuteInUseError, match="1 of the jobs"):
        await store.remove_chute(second)
    await store.save(replace(job, phase=Phase.FINISHED, finished_at=20.0))
    assert len(await store.remove_chute(second)) == 2


async def test_the_unfinished_jobs_of_a_chute_are_those_of_all_its_versions_and_no_others(
    store: TestedStore,
) -> None:
    first, his = await deployed(store, 1), await deployed(store, 2, "bob")
    other = await deployed(store, 3, name="other")
    over, old = await a_job_of(store, first, "over"), await a_job_of(store, first, "old")
    second = await deployed(store, 4)
    warm = await a_job_of(store, second, "new", Kind.CORDS)
    await a_job_of(store, his, "his")
    await a_job_of(store, other, "other")
    await store.save(replace(over, phase=Phase.FINISHED, finished_at=20.0))
    assert await store.unfinished_of("ann", "trainer") == [old, warm]
    assert await store.unfinished_of("ann", "nothing") == []


async def test_jobs_of_anothers_chute_of_the_same_name_hold_up_nothing(store: TestedStore) -> None:
    mine, his = await deployed(store, 1), await deployed(store, 2, "bob")
    await a_job_of(store, his)
    assert await store.remove_chute(mine) == [mine.id]


async def test_of_the_versions_before_the_newest_stay_and_those_that_run(store: TestedStore) -> None:
    made = [await deployed(store, number) for number in range(KEPT[VersionState.SUPERSEDED] + 4)]
    job = await a_job_of(store, made[1])
    assert set(await store.drop_stale_versions()) == {made[0].id, made[2].id}
    await store.save(replace(job, phase=Phase.FINISHED, finished_at=20.0))
    assert await store.drop_stale_versions() == [made[1].id]
    assert await store.drop_stale_versions() == []
    assert await store.chute("trainer", ANN) == made[-1]


async def test_refused_deploys_are_forgotten_at_some_time_and_others_never(store: TestedStore) -> None:
    most = KEPT[VersionState.REFUSED]
    for number in range(most + 2):
        added = (await store.add_version(version(number))).version
        await store.settle_version(added.id, Described(None, FAULTS))
    waiting = (await store.add_version(version(999))).version
    assert set(await store.drop_stale_versions()) == {version(0).id, version(1).id}
    assert await store.describing() == [waiting]


async def test_what_unfinished_jobs_run_has_files_also_where_its_row_is_gone(store: TestedStore) -> None:
    lost = replace(version(1), chute="trainer")
    job = await a_job_of(store, lost)
    assert await store.version_ids() == {lost.id}
    await store.save(replace(job, phase=Phase.FINISHED, finished_at=20.0))
    assert await store.version_ids() == set()
