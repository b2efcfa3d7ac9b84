"""What of this side's input a command gets, and the way out of a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.escape import Escape
from agent.cli.exec_input import Flag, Input, Side, choose_input
from agent.cli.refusals import BadArgumentError

I, T = Flag.INTERACTIVE, Flag.TTY  # noqa: E741 - as they are written


@pytest.mark.parametrize(
    ("given", "side", "command", "chosen"),
    [
        ((), Side.TERMINAL, ("ls",), Input.TERMINAL),
        ((), Side.TERMINAL, (), Input.TERMINAL),
        ((), Side.TERMINAL_IN, ("ls",), Input.NOTHING),  # ls | less
        ((), Side.OTHER, ("ls",), Input.NOTHING),  # while read …
        ((), Side.OTHER, (), Input.STREAM),
        ((I,), Side.TERMINAL, ("cat",), Input.STREAM),
        ((I,), Side.OTHER, ("cat",), Input.STREAM),
        ((T,), Side.TERMINAL, ("top",), Input.TERMINAL),
        ((I, T), Side.TERMINAL_IN, ("top",), Input.TERMINAL),
    ],
)
def test_flags_mean_what_dockers_mean(
    given: tuple[Flag, ...], side: Side, command: tuple[str, ...], chosen: Input
) -> None:
    assert choose_input(frozenset(given), side, command) is chosen


def test_a_terminal_that_is_none_is_refused() -> None:
    with pytest.raises(BadArgumentError):
        choose_input(frozenset({T}), Side.OTHER, ("top",))


def fed(pieces: list[bytes]) -> tuple[bytes, bool]:
    escape = Escape()
    sent = b"".join(map(escape.feed, pieces))
    return sent, escape.is_left


@pytest.mark.parametrize(
    ("typed", "sent", "is_left"),
    [
        (b"~.", b"", True),
        (b"ls\r~.rest", b"ls\r", True),
        (b"ls\n~.", b"ls\n", True),
        (b"ls~.", b"ls~.", False),
        (b"~~.", b"~.", False),
        (b"~/bin\r", b"~/bin\r", False),
        (b"~\r~.", b"~\r", True),
        (b"~~\r~.", b"~\r", True),
        (b"a\r~", b"a\r", False),
        (b"", b"", False),
    ],
)
def test_the_way_out_is_ssh_s(typed: bytes, sent: bytes, is_left: bool) -> None:  # noqa: FBT001 - a column of the table
    assert fed([typed]) == (sent, is_left)
    assert fed([bytes([sign]) for sign in typed]) == (sent, is_left)


@given(st.binary().filter(lambda typed: b"~" not in typed))
def test_what_has_no_tilde_goes_as_it_is(typed: bytes) -> None:
    assert fed([typed]) == (typed, False)
