"""The promises of interfaces.CordStore, for the one on disk and for its twin in memory."""

from agent.core.job import Viewer
from agent.interfaces.cord_store import BegunCall, CordCaps, CordKey, KeptAnswer
from tests.contract.store_values import TestedStore
from tests.contract.test_store_chutes import deployed

KEY = CordKey("ann", "trainer", "k")
CALL = BegunCall("digest", "call 1")
ANSWER = KeptAnswer(404, "application/json", (("X-A", "1"), ("X-A", "2")), b"\x00{}")
CAPS = CordCaps(calls=1_000, answers=100, owner_bytes=1 << 20, all_bytes=1 << 20)
ROW = 1 << 10  # what an answer counts beside its bytes, about


async def begin(
    store: TestedStore, key: CordKey = KEY, call: BegunCall = CALL, at: float = 10.0, caps: CordCaps = CAPS
) -> BegunCall:
    return await store.begin_cord_call(key, call, at, caps)


async def named(store: TestedStore, number: int, owner: str = "ann") -> CordKey:
    key = CordKey(owner, "trainer", f"k{number}")
    await begin(store, key, BegunCall("digest", f"{owner} {number}"), float(number))
    return key


async def kept(store: TestedStore, keys: list[CordKey]) -> list[bool]:
    return [(await begin(store, key)).answer is not None for key in keys]


async def test_a_call_is_begun_once_and_known_from_then_on_without_an_answer(store: TestedStore) -> None:
    assert await begin(store) == CALL
    assert await begin(store, call=BegunCall("other", "call 2")) == CALL


async def test_an_answer_is_read_as_it_was_kept(store: TestedStore) -> None:
    await begin(store)
    await store.keep_cord_answer(KEY, CALL.id, ANSWER, CAPS)
    assert await begin(store, call=BegunCall("other", "call 2")) == BegunCall("digest", "call 1", ANSWER)


async def test_the_first_answer_stays(store: TestedStore) -> None:
    await begin(store)
    await store.keep_cord_answer(KEY, CALL.id, ANSWER, CAPS)
    await store.keep_cord_answer(KEY, CALL.id, KeptAnswer(200, "a/b", (), b""), CAPS)
    assert (await begin(store)).answer == ANSWER


async def test_an_answer_of_a_call_of_yesterday_is_not_that_of_todays(store: TestedStore) -> None:
    await begin(store)
    await store.drop_cord_calls(11.0)
    await begin(store, call=BegunCall("digest", "call 2"), at=12.0)
    await store.keep_cord_answer(KEY, CALL.id, ANSWER, CAPS)
    assert await begin(store) == BegunCall("digest", "call 2")


async def test_a_key_is_an_owners_and_a_chutes(store: TestedStore) -> None:
    await begin(store)
    for number, other in enumerate(
        (CordKey("bob", "trainer", "k"), CordKey("ann", "other", "k"), CordKey("ann", "trainer", "K"))
    ):
        call = BegunCall("digest", f"other {number}")
        assert await begin(store, other, call) == call


async def test_what_is_old_goes_and_the_rest_stays_however_much_it_is(store: TestedStore) -> None:
    for number in range(10, 1_300, 2):
        await named(store, number)
    await store.drop_cord_calls(1_298.0)
    again = BegunCall("digest", "again")
    for number in (10, 700, 1_296):
        assert await begin(store, CordKey("ann", "trainer", f"k{number}"), again) == again
    assert await begin(store, CordKey("ann", "trainer", "k1298"), again) != again


async def test_an_owner_keeps_so_many_answers_and_the_oldest_are_forgotten_but_not_their_calls(
    store: TestedStore,
) -> None:
    caps = CordCaps(calls=100, answers=3, owner_bytes=1 << 20, all_bytes=1 << 20)
    keys = [await named(store, number) for number in range(5)]
    for number, key in enumerate(keys):
        await store.keep_cord_answer(key, f"ann {number}", ANSWER, caps)
    assert await kept(store, keys) == [False, False, True, True, True]
    assert (await begin(store, keys[0], BegunCall("other", "new"))).id == "ann 0"


async def test_an_owner_keeps_so_many_bytes_of_answers_and_others_theirs(store: TestedStore) -> None:
    caps = CordCaps(calls=100, answers=100, owner_bytes=30_000 + 4 * ROW, all_bytes=1 << 20)
    theirs = await named(store, 0, "bob")
    await store.keep_cord_answer(theirs, "bob 0", ANSWER, caps)
    keys = [await named(store, number) for number in range(5)]
    for number, key in enumerate(keys):
        await store.keep_cord_answer(key, f"ann {number}", KeptAnswer(200, "a/b", (), b"x" * 10_000), caps)
    assert await kept(store, [theirs, *keys]) == [True, False, False, True, True, True]


async def test_headers_count_as_bytes_do(store: TestedStore) -> None:
    caps = CordCaps(calls=100, answers=100, owner_bytes=8_000, all_bytes=1 << 20)
    key = await named(store, 1)
    await store.keep_cord_answer(key, "ann 1", KeptAnswer(200, "a/b", (("X-A", "x" * 8_000),), b""), caps)
    assert await kept(store, [key]) == [False]


async def test_an_answer_without_a_byte_counts_too(store: TestedStore) -> None:
    caps = CordCaps(calls=100, answers=100, owner_bytes=2 * ROW + 100, all_bytes=1 << 20)
    keys = [await named(store, number) for number in range(3)]
    for number, key in enumerate(keys):
        await store.keep_cord_answer(key, f"ann {number}", KeptAnswer(200, "a/b", (), b""), caps)
    assert await kept(store, keys) == [False, True, True]


async def test_all_owners_together_keep_so_many_bytes_and_the_oldest_go_first(store: TestedStore) -> None:
    caps = CordCaps(calls=100, answers=100, owner_bytes=1 << 20, all_bytes=20_000 + 3 * ROW)
    keys = [await named(store, number, owner) for number, owner in enumerate(("ann", "bob", "eve"))]
    for number, key in enumerate(keys):
        answer = KeptAnswer(200, "a/b", (), b"x" * 10_000)
        await store.keep_cord_answer(key, f"{key.owner} {number}", answer, caps)
    assert await kept(store, keys) == [False, True, True]


async def test_an_owner_has_so_many_calls_that_are_known_and_the_oldest_are_forgotten(
    store: TestedStore,
) -> None:
    caps = CordCaps(calls=3, answers=100, owner_bytes=1 << 20, all_bytes=1 << 20)
    theirs = await named(store, 0, "bob")
    for number in range(5):
        await begin(store, CordKey("ann", "trainer", f"k{number}"), BegunCall("d", f"{number}"), number, caps)
    again = BegunCall("d", "again")
    found = [await begin(store, CordKey("ann", "trainer", f"k{number}"), again) for number in (2, 3, 4)]
    assert [call.id for call in found] == ["2", "3", "4"]
    assert await begin(store, CordKey("ann", "trainer", "k0"), again) == again
    assert (await begin(store, theirs, again)).id == "bob 0"


async def test_of_calls_of_one_moment_the_first_are_forgotten(store: TestedStore) -> None:
    caps = CordCaps(calls=3, answers=2, owner_bytes=1 << 20, all_bytes=1 << 20)
    keys = [CordKey("ann", "trainer", f"k{number}") for number in range(4)]
    for key in keys:
        await begin(store, key, BegunCall("digest", key.key), caps=caps)
        await store.keep_cord_answer(key, key.key, ANSWER, caps)
    found = [await begin(store, key, BegunCall("digest", "again")) for key in reversed(keys)]
    assert [(call.id, call.answer is not None) for call in found] == [
        ("k3", True),
        ("k2", True),
        ("k1", False),
        ("again", False),
    ]


async def test_calls_go_with_their_chute_and_no_others(store: TestedStore) -> None:
    chute = await deployed(store, 1)
    other, theirs = CordKey("ann", "other", "k"), CordKey("bob", "trainer", "k")
    for key in (KEY, other, theirs):
        await begin(store, key)
    await store.remove_chute(chute)
    again = BegunCall("digest", "again")
    assert await begin(store, KEY, again) == again
    assert await begin(store, other, again) == CALL
    assert await begin(store, theirs, again) == CALL
    assert await store.chute("trainer", Viewer("ann")) is None
