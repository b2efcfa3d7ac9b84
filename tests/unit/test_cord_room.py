"""How much calls of cords may hold at once."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from agent.jobs.cords import CordBusyError, CordRoomFullError
from agent.jobs.cords.room import ALL_BYTES, CALL_BYTES, OWNER_BYTES, Room

BODY = 1 << 20
WITH_BODY = 2 * BODY + CALL_BYTES


def hold(calls: ExitStack, room: Room, owner: str, bodies: int, size: int = BODY) -> int:
    """How many of them were let in; they end with `calls`."""
    for count in range(bodies):
        try:
            calls.enter_context(room.holding(owner, size))
        except (CordBusyError, CordRoomFullError):
            return count
    return bodies


@pytest.fixture
def calls() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_calls_of_an_owner_hold_so_much_and_those_of_others_are_let_in_beside_them(
    calls: ExitStack,
) -> None:
    room = Room()
    assert hold(calls, room, "ann", 100) == OWNER_BYTES // WITH_BODY
    assert hold(calls, room, "bob", 1) == 1


def test_calls_of_all_owners_together_hold_so_much(calls: ExitStack) -> None:
    room = Room()
    held = sum(hold(calls, room, f"owner {number}", 100) for number in range(10))
    assert held == ALL_BYTES // WITH_BODY
    with pytest.raises(CordRoomFullError):
        calls.enter_context(room.holding("another", BODY))


def test_a_call_without_a_body_holds_something_too(calls: ExitStack) -> None:
    assert hold(calls, Room(), "ann", 100_000, 0) == OWNER_BYTES // CALL_BYTES


def test_what_a_call_held_is_free_when_it_ends_however_it_does(calls: ExitStack) -> None:
    room = Room()
    for _ in range(100):
        with pytest.raises(ValueError, match="x"), room.holding("ann", BODY):
            raise ValueError("x")
    assert hold(calls, room, "ann", 1) == 1


def test_the_end_of_one_call_frees_nothing_of_the_owners_others(calls: ExitStack) -> None:
    room = Room()
    most = hold(calls, room, "ann", 100)
    with pytest.raises(CordBusyError), room.holding("ann", BODY):
        pass
    others = ExitStack()
    with others:
        assert hold(others, room, "ann", 100, 0) > 0
    assert hold(calls, room, "ann", 100) == 0, f"{most} are under way still"


def test_of_owners_whose_calls_are_over_nothing_is_kept() -> None:
    room = Room()
    for number in range(10):
        with room.holding(f"owner {number}", BODY):
            pass
    assert not room._held
