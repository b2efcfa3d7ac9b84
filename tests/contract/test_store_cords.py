"""The promises of interfaces.CordStore, for the one on disk and for its twin in memory."""

from agent.core.job import Viewer
from agent.interfaces.cord_store import CordKey, KeptAnswer
from tests.contract.store_values import TestedStore
from tests.contract.test_store_chutes import deployed

KEY = CordKey("ann", "trainer", "k")
ANSWER = KeptAnswer("digest", 404, "application/json", (("X-A", "1"), ("X-A", "2")), b"\x00{}")


async def test_an_answer_is_read_as_it_was_kept(store: TestedStore) -> None:
    assert await store.cord_answer(KEY) is None
    await store.keep_cord_answer(KEY, ANSWER, 10.0)
    assert await store.cord_answer(KEY) == ANSWER


async def test_the_first_answer_stays(store: TestedStore) -> None:
    await store.keep_cord_answer(KEY, ANSWER, 10.0)
    await store.keep_cord_answer(KEY, KeptAnswer("other", 200, "a/b", (), b""), 11.0)
    assert await store.cord_answer(KEY) == ANSWER


async def test_a_key_is_an_owners_and_a_chutes(store: TestedStore) -> None:
    await store.keep_cord_answer(KEY, ANSWER, 10.0)
    for other in (
        CordKey("bob", "trainer", "k"),
        CordKey("ann", "other", "k"),
        CordKey("ann", "trainer", "K"),
    ):
        assert await store.cord_answer(other) is None


async def test_what_is_old_goes_and_the_rest_stays(store: TestedStore) -> None:
    young = CordKey("ann", "trainer", "young")
    await store.keep_cord_answer(KEY, ANSWER, 10.0)
    await store.keep_cord_answer(young, ANSWER, 20.0)
    await store.drop_cord_answers(20.0)
    assert await store.cord_answer(KEY) is None
    assert await store.cord_answer(young) == ANSWER


async def test_answers_go_with_their_chute_and_no_others(store: TestedStore) -> None:
    chute = await deployed(store, 1)
    other = CordKey("ann", "other", "k")
    for key in (KEY, other):
        await store.keep_cord_answer(key, ANSWER, 10.0)
    await store.remove_chute(chute)
    assert await store.cord_answer(KEY) is None
    assert await store.cord_answer(other) == ANSWER
    assert await store.chute("trainer", Viewer("ann")) is None
