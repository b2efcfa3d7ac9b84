"""What a job sent stands in an answer only if every reader of the answer can read it."""

import asyncio
import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.api.json_value import TOKENS_AT_ONCE, Looked, is_json_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NEARLY = st.text(alphabet='[]{},:" \n\t\\u00e91-.eEtrufalsn\x00é', max_size=30)


def judge(text: str) -> bool:
    return asyncio.run(is_json_value(text.encode("utf-8", "surrogatepass")))


def standard_library_reads(text: str) -> bool:
    """To finite numbers: of 1e999 it makes an infinite one, which it then writes as what is no JSON."""

    def refuse(_: str) -> None:
        raise ValueError

    def read_finite(number: str) -> float:
        if not math.isfinite(float(number)):
            raise ValueError
        return float(number)

    try:
        json.loads(text, parse_constant=refuse, parse_float=read_finite)
    except ValueError:
        return False
    return True


@given(VALUES, st.sampled_from([None, 1]))
def test_whatever_a_value_is_its_json_is_json(value: object, indent: int | None) -> None:
    for is_ascii in (True, False):
        assert judge(json.dumps(value, indent=indent, ensure_ascii=is_ascii)) or "\ud800" in repr(value)


@given(NEARLY)
def test_what_looks_like_json_is_judged_as_the_standard_library_does(text: str) -> None:
    assert judge(text) == standard_library_reads(text)


@example({"0": [7.064017064471951e16, 308]}, (25, 30))
@given(VALUES, st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)))
def test_json_with_a_piece_cut_out_is_judged_as_the_standard_library_does(
    value: object, ends: tuple[int, int]
) -> None:
    text = json.dumps(value)
    start, end = sorted(each % (len(text) + 1) for each in ends)
    cut = text[:start] + text[end:]
    assert judge(cut) == standard_library_reads(cut)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"NaN",
        b"-Infinity",
        b"1 2",
        b"[1]]",
        b"[}",
        b"{]",
        b'{"a"}',
        b"[1,]",
    ],
)
async def test_what_is_no_json_is_none(data: bytes) -> None:
    assert not await is_json_value(data)


@pytest.mark.parametrize("depth", [100, 101, 100_000])
async def test_what_is_deeper_than_clients_can_read_is_refused(depth: int) -> None:
    assert await is_json_value(b"[" * depth + b"]" * depth) is (depth <= 100)


@pytest.mark.parametrize("number", ["1e999", "-1E400", "9" * 401])
async def test_a_number_that_most_readers_have_no_place_for_is_refused(number: str) -> None:
    assert not await is_json_value(f"[{number}]".encode())
    assert math.isfinite(float("9" * 300))
    assert await is_json_value(b"9" * 300)


async def test_a_result_is_looked_at_once_and_the_oldest_is_forgotten() -> None:
    looked = Looked(most=2)
    assert await looked.is_json((1, 1), b"[]")
    assert await looked.is_json((1, 1), b"no more looked at")
    assert not await looked.is_json((1, 2), b"{")
    assert await looked.is_json((2, 1), b"{}")
    assert not await looked.is_json((1, 1), b"looked at anew")


async def test_others_have_their_turn_while_a_large_value_is_gone_through() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    assert await is_json_value(b"[" + b"{}," * 10_000 + b"{}]")
    other.cancel()
    assert turns >= 30_000 // TOKENS_AT_ONCE
