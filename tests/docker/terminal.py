"""terminal — a program at a terminal whose window changes its size. Knows no SSH."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios


def run_in_terminal(command: list[str]) -> str:
    """A shell at a terminal of 24 lines, which is made larger while it runs. Returns all that was shown."""
    terminal, theirs = pty.openpty()
    resize(terminal, 24, 91)
    try:
        # In a session of its own, with this as its terminal: only so is it told of a new size.
        whole = ["setsid", "--ctty", "--wait", *command]
        with subprocess.Popen(whole, stdin=theirs, stdout=theirs, stderr=theirs) as client:
            os.close(theirs)
            told = converse(terminal, "tty; stty size; echo fir''st\n", "first")
            resize(terminal, 40, 132)
            # The shell is told by a signal, which may come after the next line.
            told += converse(
                terminal,
                "while [ \"$(stty size)\" != '40 132' ]; do sleep 0.1; done; stty size; echo seco''nd\n",
                "second",
            )
            os.write(terminal, b"exit 5\n")
            with contextlib.suppress(OSError):
                while os.read(terminal, 4096):
                    pass
            assert client.wait(20) == 5
    finally:
        os.close(terminal)
    return told


def resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def converse(terminal: int, line: str, until: str) -> str:
    os.write(terminal, line.encode())
    told = ""
    while until not in told:
        told += os.read(terminal, 4096).decode(errors="replace")
    return told
