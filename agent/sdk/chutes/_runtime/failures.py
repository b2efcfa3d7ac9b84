"""chutes/_runtime/failures — an exception as the host is told of it. Never raises, whatever the exception does. Decides no retry."""

from __future__ import annotations

import os
import sys
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Iterator

from chutes._runtime.texts import clean, name_of, shorten, text_of
from chutes.errors import PermanentError

if TYPE_CHECKING:
    from traceback import TracebackException

MAX_MESSAGE_CHARACTERS = 4_000
MAX_TRACEBACK_CHARACTERS = 32_000

_MOST_FRAMES = 500
# Twice what Python's own limit lets be; where an author has lifted it, a million would take minutes.
_MOST_TRACED = 2_000

_OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_NOT_THEIRS = (_OURS, "<frozen importlib")


def failure(kind: str, error: BaseException) -> dict[str, Any]:
    status = member_of(error, "status_code")
    detail = member_of(error, "detail") if isinstance(status, int) else None
    return {
        "kind": kind,
        "type": name_of(error),
        "message": shorten(text_of(error), MAX_MESSAGE_CHARACTERS),
        "traceback": shorten(traceback_of(error), MAX_TRACEBACK_CHARACTERS),
        "status_code": int(status) if isinstance(status, int) else None,
        "detail": None if detail is None else shorten(text_of(detail), MAX_MESSAGE_CHARACTERS),
    }


def is_permanent(error: BaseException) -> bool:
    """Also a group of nothing else: a task group wraps what its tasks raise."""
    inner = member_of(error, "exceptions")
    if isinstance(inner, tuple) and inner:
        return all(isinstance(one, BaseException) and is_permanent(one) for one in inner)
    return isinstance(error, PermanentError)


def traceback_of(error: BaseException) -> str:
    """As Python shows it, but for the frames of this package: what an author did wrong is to be seen in his own."""
    try:
        from traceback import TracebackException  # noqa: PLC0415 — only failures need it

        depth = _depth_of(error.__traceback__)
        limit = -_MOST_TRACED if depth > _MOST_TRACED else None
        told = TracebackException(type(error), error, error.__traceback__, limit=limit)
        for each in _chain_of(told):
            theirs = [frame for frame in each.stack if not frame.filename.startswith(_NOT_THEIRS)]
            # What is left of a fault of ours would be nothing: then all of it stays.
            if theirs or (each is told and _says_all(error)):
                each.stack[:] = theirs
        left_out = f"(the last {_MOST_TRACED} of {depth} frames)\n" if limit else ""
        return left_out + clean("".join(told.format() if told.stack else told.format_exception_only()))
    except BaseException as why:  # noqa: BLE001 — a chain too long, a __str__ that raises, a file of the author's named traceback.py
        return f"{name_of(error)}: {text_of(error)}\n(its traceback can't be shown: {name_of(why)})"


def stack_of(thread: int) -> str:
    """Where a thread is now."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 — the documented way to it
    lines: list[str] = []
    while frame is not None and len(lines) < _MOST_FRAMES:
        if not frame.f_code.co_filename.startswith(_OURS):
            lines.append(_line_of(frame))
        frame = frame.f_back
    return clean("".join(reversed(lines)))


def awaiting(awaited: Any) -> str | None:
    """Where a coroutine waits, down to what it waits for; None where it is no coroutine, or one that is running."""
    lines: list[str] = []
    while len(lines) < _MOST_FRAMES:
        frame = member_of(awaited, "cr_frame") or member_of(awaited, "gi_frame")
        if frame is None:
            break
        if member_of(awaited, "cr_running") or member_of(awaited, "gi_running"):
            return None
        if not frame.f_code.co_filename.startswith(_OURS):
            lines.append(_line_of(frame))
        awaited = member_of(awaited, "cr_await") or member_of(awaited, "gi_yieldfrom")
    return clean("".join(lines)) or None


def _line_of(frame: FrameType) -> str:
    return f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}\n'


def _depth_of(traceback: TracebackType | None) -> int:
    depth = 0
    while traceback is not None:
        depth, traceback = depth + 1, traceback.tb_next
    return depth


def _chain_of(told: TracebackException) -> Iterator[TracebackException]:
    shown: TracebackException | None = told
    while shown is not None:
        yield shown
        shown = shown.__cause__ or shown.__context__


def _says_all(error: BaseException) -> bool:
    """The text of it has the place, or needs none."""
    return isinstance(error, SyntaxError) or type(error).__module__.partition(".")[0] == "chutes"


def member_of(error: Any, name: str) -> Any:
    """None where it has none, or a property of it raises."""
    try:
        return getattr(error, name, None)
    except BaseException:  # noqa: BLE001 — a property of the author's making
        return None
