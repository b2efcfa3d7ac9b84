"""cli/exec_input — what of this side's input a command in a job gets, as docker has it. Pure: reads no descriptor."""

from enum import Enum

from agent.cli.refusals import BadArgumentError


class Input(Enum):
    NOTHING = "nothing"
    STREAM = "stream"
    TERMINAL = "terminal"


class Side(Enum):
    """What this side's stdin and stdout are."""

    TERMINAL = "both a terminal"
    TERMINAL_IN = "stdin a terminal, stdout none"
    OTHER = "stdin no terminal"


class Flag(Enum):
    INTERACTIVE = "-i"
    TTY = "-t"


def side_of(*, is_in: bool, is_out: bool) -> Side:
    if not is_in:
        return Side.OTHER
    return Side.TERMINAL if is_out else Side.TERMINAL_IN


def choose_input(given: frozenset[Flag], side: Side, command: tuple[str, ...]) -> Input:
    """Raises BadArgumentError.

    Without -i a command gets nothing, so that in a loop over lines it does not eat those that follow; but a shell that was
    asked for by the job alone is there to be told something.
    """
    if Flag.TTY in given:
        if side is Side.OTHER:
            raise BadArgumentError("-t wants a terminal, and stdin is none")
        return Input.TERMINAL
    if not given and side is Side.TERMINAL:
        return Input.TERMINAL
    return Input.STREAM if given or not command else Input.NOTHING
