"""chutes/_runtime/lines — one structured line of the job's log, written to standard error at once. Chooses no level.

The descriptor is written to, and not sys.stderr: an author may have put anything in its place.
"""

from __future__ import annotations

from json import dumps
from os import write
from re import compile as pattern
from select import POLLOUT, poll
from time import gmtime, strftime, time
from typing import Mapping

STANDARD_ERROR = 2

# What a pipe that can be written to takes without waiting.
_ATOMIC_BYTES = 4096

_OFFER_MILLISECONDS = 100

_PLAIN = pattern(r"[A-Za-z0-9_./:@+-]+")
_NO_KEY = pattern(r"[^A-Za-z0-9_.-]")

# What moves a terminal's cursor or breaks a line somewhere, and that JSON leaves as it is.
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


def log_line(
    level: str, message: str, fields: Mapping[str, str] | None = None, at: float | None = None
) -> str:
    """Logfmt. A quoted value is a JSON string, so no line feed breaks it and nothing in it is lost."""
    milliseconds = int(1000 * (time() if at is None else at))
    moment = strftime("%Y-%m-%dT%H:%M:%S", gmtime(milliseconds // 1000))
    words = [f"time={moment}.{milliseconds % 1000:03}Z", f"level={level}", f"msg={_quoted(message)}"]
    for name, value in (fields or {}).items():
        shown = value if _PLAIN.fullmatch(value) else _quoted(value)
        words.append(f"{_NO_KEY.sub('_', name)}={shown}")
    return " ".join(words)


def write_line(line: str) -> None:
    write_text(line + "\n")


def write_text(text: str) -> None:
    """All of it, waiting for whoever reads the log, as print() does."""
    _write(text, None)


def offer_text(text: str) -> None:
    """As much of it as is read now: for the wire's thread, which waits for nobody."""
    _write(text, _OFFER_MILLISECONDS)


def offer_warning(message: str) -> None:
    offer_text(log_line("warning", message) + "\n")


def warn(message: str) -> None:
    """What the launcher itself has to tell the author."""
    write_line(log_line("warning", message))


def _write(text: str, patience: int | None) -> None:
    left = text.encode(errors="backslashreplace")
    waiting = poll()
    waiting.register(STANDARD_ERROR, POLLOUT)
    try:
        # Also where a child of the author's made the pipe non-blocking, for all who share it.
        while left and waiting.poll(patience):
            left = left[write(STANDARD_ERROR, left[:_ATOMIC_BYTES]) :]
    except OSError:
        return  # closed: nobody can read it


def _quoted(text: str) -> str:
    return dumps(text, ensure_ascii=False).translate(_ESCAPED)
