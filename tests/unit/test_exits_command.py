"""A command that the init process could not execute, told from a program that exits with the same code."""

import pytest

from agent.core.exits import command_failure

NOT_THERE = b"[FATAL tini (7)] exec no-such-program failed: No such file or directory\n"


def test_the_words_of_the_init_process_say_that_the_command_is_not_there() -> None:
    failure = command_failure(127, NOT_THERE)
    assert failure is not None
    assert failure.code == "command_not_found"
    assert failure.message == "exec no-such-program failed: No such file or directory"


def test_a_file_that_can_not_be_executed_is_told_apart() -> None:
    failure = command_failure(126, b"[FATAL tini (12)] exec /etc/passwd failed: Permission denied\n")
    assert failure is not None
    assert failure.code == "command_not_executable"


@pytest.mark.parametrize(
    ("code", "log"),
    [
        (127, b"sh: line 1: pip: not found\n"),
        (127, b""),
        (1, NOT_THERE),
        (None, NOT_THERE),
        (127, NOT_THERE + b"and the program went on\n"),
        (127, b"first\n" + NOT_THERE),
    ],
)
def test_a_program_of_its_own_that_exits_so_is_an_exit_like_any_other(code: int | None, log: bytes) -> None:
    assert command_failure(code, log) is None
