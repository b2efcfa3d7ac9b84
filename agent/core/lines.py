"""core/lines — log frames as records of whole lines, and how a record is written. Pure: reads no log and knows no job's state.

NDJSON, one object a line, each with the cursor behind it:
    {"type":"line","attempt":1,"stream":"stdout","at":"2024-05-06T07:08:09.123456789Z","line":"…","cursor":"…"}
    {"type":"truncated","attempt":1,"cause":"rotated","at":"…","cursor":"…"}
    {"type":"attempt","attempt":2,"cursor":"…"}
`line` is without its newline. What is no UTF-8 in it is shown as U+FFFD, and only then `base64` has the line's exact bytes. A line
over 1 MiB comes in pieces: all but the last have `"cut":true`, the next record of that stream goes on.
In text, a line is its own bytes; the other two records are lines that begin with `[gpu-agent]`.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from json.encoder import encode_basestring

from agent.core.cursor import Cursor, cursor_text, place_text
from agent.core.frames import (
    FRACTION_AT,
    HEADER_BYTES,
    SECOND_END,
    UTC_MARK,
    ZONE_AT,
    Slab,
    Stream,
    epoch,
    stamp_ns,
    stamp_text,
    text_start,
)

# A longer line is handed out in pieces: a reader's memory has a bound, and no byte is dropped.
MOST_LINE_BYTES = 1 << 20
_NEWLINE = ord("\n")
_LABELS = {int(stream): stream.label for stream in Stream}


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its newline; `is_cut`: the stream's next record goes on with it. `at` is RFC 3339, as the engine wrote it."""

    attempt: int
    stream: Stream
    at: str
    at_ns: int
    text: bytes
    is_cut: bool
    cursor: str


class Cause(StrEnum):
    """Why lines are missing at this place."""

    ROTATED = "rotated"  # the engine dropped its oldest file
    UNREADABLE = "unreadable"  # the engine, or we, can't read what is there


@dataclass(frozen=True, slots=True)
class Truncated:
    """Lines are missing here. `at_ns`: the stamp of the first one that is left, None where none is."""

    attempt: int
    cause: Cause
    at_ns: int | None
    cursor: str


@dataclass(frozen=True, slots=True)
class AttemptMark:
    """What follows is the log of this attempt."""

    attempt: int
    cursor: str


Record = Line | Truncated | AttemptMark


@dataclass(slots=True)
class _Progress:
    """How far one stream was handed out. `ns` and `number` are of the last frame seen, `place` of the last one handed out."""

    ns: str = ""
    number: int = 0
    place: str = ""
    parts: list[bytes] = field(default_factory=list)
    held_bytes: int = 0
    at: bytes = b""


# stream, stamp, its ns, text, is cut, cursor behind it
_Whole = tuple[int, bytes, str, bytes, bool, str]


class LineJoiner:
    """Joins the parts of long lines and numbers the frames, for one attempt, from a cursor on. Holds at most MOST_LINE_BYTES
    and one part a stream.
    """

    def __init__(self, cursor: Cursor) -> None:
        self.attempt = cursor.attempt
        self._progress = {int(stream): _progress(cursor, stream) for stream in Stream}
        self._second = b""
        self._second_text = ""

    @property
    def cursor(self) -> str:
        """Behind the last line that was handed out."""
        return cursor_text(self.attempt, *(progress.place for progress in self._progress.values()))

    def lines(self, slab: Slab) -> list[Line]:
        """The lines that are whole now."""
        return [self._line(whole) for whole in self._whole(slab)]

    def ndjson(self, slab: Slab) -> bytes:
        """The same as `lines`, written as NDJSON, without an object for each."""
        return "".join([self._json(whole) for whole in self._whole(slab)]).encode()

    def flush(self) -> list[Line]:
        """What is left at the end of an attempt's log: last lines without a newline."""
        return [
            self._line((stream, progress.at, progress.ns, *self._release(progress, is_cut=False)))
            for stream, progress in self._progress.items()
            if progress.parts
        ]

    def _line(self, whole: _Whole) -> Line:
        stream, at, ns, text, is_cut, cursor = whole
        return Line(self.attempt, Stream(stream), at.decode(), int(ns), text, is_cut, cursor)

    def _json(self, whole: _Whole) -> str:
        stream, at, _, text, is_cut, cursor = whole
        head = f'{{"type":"line","attempt":{self.attempt},"stream":"{_LABELS[stream]}","at":"{at.decode()}"'
        return f'{head},"line":{_json_text(text)}{_CUT if is_cut else ""},"cursor":"{cursor}"}}\n'

    def _whole(self, slab: Slab) -> Iterator[_Whole]:
        data, attempt, by_stream = slab.data, self.attempt, self._progress
        stdout, stderr = by_stream[Stream.STDOUT], by_stream[Stream.STDERR]
        for start, end in zip(slab.starts, slab.ends, strict=True):
            text_at = text_start(data, start)
            ns = self._ns(data, start)
            stream = data[start]
            progress = by_stream[stream]
            if ns == progress.ns:
                progress.number += 1
            else:
                progress.ns, progress.number = ns, 1
            if data[end - 1] != _NEWLINE or progress.parts:
                at = data[start + HEADER_BYTES : text_at - 1]
                yield from self._hold(stream, progress, at, data[text_at:end])
                continue
            progress.place = ns if progress.number == 1 else f"{ns}-{progress.number}"
            cursor = f"1.{attempt}.{stdout.place}.{stderr.place}"
            yield stream, data[start + HEADER_BYTES : text_at - 1], ns, data[text_at : end - 1], False, cursor

    def _ns(self, data: bytes, start: int) -> str:
        """As decimal digits: the second's are made once, the fraction's stand there already."""
        if data[start + ZONE_AT] != UTC_MARK:
            return str(stamp_ns(data, start))
        second = data[start + HEADER_BYTES : start + SECOND_END]
        if second != self._second:
            self._second = second
            self._second_text = str(epoch(second, b"+00:00"))
        return self._second_text + data[start + FRACTION_AT : start + ZONE_AT].decode()

    def _hold(self, stream: int, progress: _Progress, at: bytes, part: bytes) -> Iterator[_Whole]:
        """Keep a part of a line; hand out the line where it is whole or grows too long."""
        if not progress.parts:
            progress.at = at
            progress.place = f"{place_text(progress.ns, progress.number - 1)}~"
        progress.parts.append(part)
        progress.held_bytes += len(part)
        is_whole = part.endswith(b"\n")
        if is_whole or progress.held_bytes >= MOST_LINE_BYTES:
            yield stream, progress.at, progress.ns, *self._release(progress, is_cut=not is_whole)

    def _release(self, progress: _Progress, *, is_cut: bool) -> tuple[bytes, bool, str]:
        text = b"".join(progress.parts).removesuffix(b"\n")
        progress.parts.clear()
        progress.held_bytes = 0
        progress.place = place_text(progress.ns, progress.number) + ("~" if is_cut else "")
        return text, is_cut, self.cursor


def _progress(cursor: Cursor, stream: Stream) -> _Progress:
    place = cursor.of(stream)
    return _Progress() if place is None else _Progress(str(place.ns), place.number, str(place))


_CUT = ',"cut":true'


def _json_text(text: bytes) -> str:
    try:
        return encode_basestring(text.decode())
    except UnicodeDecodeError:
        shown = encode_basestring(text.decode(errors="replace"))
        return f'{shown},"base64":"{b64encode(text).decode()}"'


def as_ndjson(record: Record) -> bytes:
    """One record as its NDJSON line."""
    match record:
        case Line(attempt, stream, at, _, text, is_cut, cursor):
            head = f'{{"type":"line","attempt":{attempt},"stream":"{stream.label}","at":"{at}"'
            line = f'{head},"line":{_json_text(text)}{_CUT if is_cut else ""},"cursor":"{cursor}"}}\n'
        case Truncated(attempt, cause, at_ns, cursor):
            since = "null" if at_ns is None else f'"{stamp_text(at_ns)}"'
            line = f'{{"type":"truncated","attempt":{attempt},"cause":"{cause}","at":{since},"cursor":"{cursor}"}}\n'
        case AttemptMark(attempt, cursor):
            line = f'{{"type":"attempt","attempt":{attempt},"cursor":"{cursor}"}}\n'
    return line.encode()


def mark_text(record: Truncated | AttemptMark) -> bytes:
    """A record that is no line, as it stands in a log shown as text."""
    match record:
        case Truncated(at_ns=None):
            text = "truncated: the log can't be read further"
        case Truncated(cause=Cause.ROTATED, at_ns=at_ns):
            text = (
                f"truncated: older lines were rotated away, what is left begins at {stamp_text(at_ns or 0)}"
            )
        case Truncated(at_ns=at_ns):
            text = f"truncated: lines before {stamp_text(at_ns or 0)} can't be read"
        case AttemptMark(attempt=attempt):
            text = f"attempt {attempt}"
    return f"[gpu-agent] {text}\n".encode()
