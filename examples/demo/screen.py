"""screen — how the demo talks: chapters, remarks, commands and log lines; colours on a terminal only. Decides nothing."""

import os
import sys
import time

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
BOLD, DIM, GREEN, CYAN, RED = "1", "2", "32", "36", "31"
began = time.monotonic()


def chapter(title: str) -> None:
    say(f"\n{paint(f'{time.monotonic() - began:5.1f} s', DIM)}  {paint(title, BOLD)}")


def tell(text: str) -> None:
    say(f"         {text}")


def show_command(words: str) -> None:
    say(f"         {paint('$ ' + words, CYAN)}")


def show_log(line: str) -> None:
    say(f"         {paint('│', GREEN)} {line}")


def note(text: str) -> None:
    say(f"         {paint(text, DIM)}")


def alarm(text: str) -> None:
    say(f"         {paint(text, RED)}")


def paint(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def say(line: str) -> None:
    # One write a line: the log's lines come from another thread.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
