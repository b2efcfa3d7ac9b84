"""cli/terminal — the terminal that a person sits at: raw while a command of another machine has it, then as it was. Sends nothing."""

import os
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

# Of a terminal that does not tell.
COLUMNS, ROWS = 80, 24


@dataclass(frozen=True, slots=True)
class Ends:
    """The three descriptors that a command of this program has."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2


def is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:  # closed
        return False


def window_size(descriptor: int) -> tuple[int, int]:
    """Columns and rows, never 0."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        return COLUMNS, ROWS
    return size.columns or COLUMNS, size.lines or ROWS


@contextmanager
def raw(descriptor: int) -> Iterator[Callable[[], None]]:
    """Each key as it is typed, for the other side to read. Yields what makes it raw once more, after a stop.

    However the block ends, the terminal is as it was before; what was typed meanwhile is not lost.
    """
    before = termios.tcgetattr(descriptor)

    def make_raw() -> None:
        tty.setraw(descriptor, termios.TCSADRAIN)

    try:
        make_raw()
        yield make_raw
    finally:
        # The terminal may be gone: that is then how the block ended.
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
