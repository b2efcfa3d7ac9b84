"""core/cursor — a place in a job's log that holds before and after the drain, and which frames lie behind it. Pure; no I/O.

A place is the attempt and, for each stream, the stamp of the last frame read and its number among the frames of that stamp.
Per stream, since each stream is monotone while the two together are not: the engine stamps a line before it writes it.

The text form is `1.<attempt>.<stdout>.<stderr>`, 1 being its version, and each place `<ns>` or `<ns>-<number>`, followed by `~`
in the middle of a line; empty where nothing was read. It is safe in a URL.

Known limit: after the wall clock of the host was set back, a stream is not monotone. A reader that is on the log then goes on
without harm; one that resumes within the time that was lived twice may be shown lines of it again.
"""

import re
from dataclasses import dataclass, replace

from agent.core.frames import NANOS, Slab, Stream, stamp, stamp_ns
from agent.errors import AgentError, Blame

# The engine stamps a line, then waits for the lock of the log: so long may a line be older than one that stands before it.
# What a stream wrote later than this behind the other one is read again and dropped.
SLACK_NS = 1 * NANOS

_NEWLINE = ord("\n")
_PLACE = r"(?:([0-9]{1,19})(?:-([0-9]{1,9}))?(~)?)?"
_CURSOR = re.compile(rf"1\.([1-9][0-9]{{0,5}})\.{_PLACE}\.{_PLACE}", re.ASCII)


class BadCursorError(AgentError):
    """The cursor is not one of ours, or of another attempt than the one asked for."""

    code, blame = "bad_cursor", Blame.USER
    remedy = "Send a cursor as a record of this job's log gave it, or none to read from the start."


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The last frame that was read of a stream: its stamp, and its number (from 1) among the stream's frames of that stamp.

    `number` 0: all before that stamp was read and nothing of it. `is_open`: in the middle of a line. Its further parts carry
    the stamp of its beginning, however late they come.
    """

    ns: int
    number: int = 1
    is_open: bool = False

    def __str__(self) -> str:
        return place_text(str(self.ns), self.number) + ("~" if self.is_open else "")


@dataclass(frozen=True, slots=True)
class Cursor:
    """None: nothing was read of that stream."""

    attempt: int
    stdout: Place | None = None
    stderr: Place | None = None

    def __str__(self) -> str:
        return cursor_text(self.attempt, str(self.stdout or ""), str(self.stderr or ""))

    def of(self, stream: Stream) -> Place | None:
        return self.stdout if stream is Stream.STDOUT else self.stderr

    def at(self, stream: Stream, place: Place) -> "Cursor":
        return replace(self, stdout=place) if stream is Stream.STDOUT else replace(self, stderr=place)

    @property
    def newest(self) -> Place | None:
        """The later of the two places: where a log begins after it, frames between are gone."""
        return max((place for place in (self.stdout, self.stderr) if place is not None), default=None)


def place_text(ns: str, number: int) -> str:
    """The text form of a place that is not open."""
    return ns if number == 1 else f"{ns}-{number}"


def cursor_text(attempt: int, stdout: str, stderr: str) -> str:
    """The text form, from the text forms of the two places."""
    return f"1.{attempt}.{stdout}.{stderr}"


def parse_cursor(text: str) -> Cursor:
    """Raises BadCursorError."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadCursorError(f"{text[:100]!r} is no cursor of a log")
    attempt, *places = match.groups()
    return Cursor(int(attempt), _place(*places[:3]), _place(*places[3:]))


def _place(ns: str | None, number: str | None, is_open: str | None) -> Place | None:
    return None if ns is None else Place(int(ns), int(number or "1"), is_open is not None)


def advance(cursor: Cursor, slab: Slab) -> Cursor:
    """The cursor behind all of the slab's frames, which follow it without a gap."""
    for stream in Stream:
        last = _last_place(slab, stream, cursor.of(stream))
        if last is not None:
            cursor = cursor.at(stream, last)
    return cursor


def _last_place(slab: Slab, stream: Stream, before: Place | None) -> Place | None:
    data = slab.data
    last: Place | None = None
    text = b""
    number = 0
    for start, end in zip(reversed(slab.starts), reversed(slab.ends), strict=True):
        if data[start] != stream:
            continue
        if last is None:
            text = stamp(data, start)
            last = Place(stamp_ns(data, start), is_open=data[end - 1] != _NEWLINE)
        elif stamp(data, start) != text:
            return replace(last, number=number)
        number += 1
    if last is None:
        return None
    return replace(last, number=number + before.number if before and before.ns == last.ns else number)


def since_ns(cursor: Cursor, only: Stream | None) -> int:
    """From which stamp on (inclusive) a log is to be read so that nothing behind the cursor is missed; 0: from its start.

    A stream that has been silent for long does not make everything of the other one be read again: see SLACK_NS.
    """
    if only is not None:
        place = cursor.of(only)
        return place.ns if place is not None else 0
    places = [cursor.stdout, cursor.stderr]
    newest = cursor.newest
    if newest is None:
        return 0
    oldest = min(place.ns if place is not None else 0 for place in places)
    unfinished = [place.ns for place in places if place is not None and place.is_open]
    return min(max(oldest, newest.ns - SLACK_NS), *unfinished, newest.ns)


class Unread:
    """Picks, out of one reading of a log in its order, the frames that lie behind a cursor. One object for each reading.

    Only the frames up to the cursor are compared: what stands behind its place in the log is new, whatever its stamp.
    `from_ns`: drop what is older. `only`: drop the other stream.
    """

    def __init__(self, cursor: Cursor, from_ns: int = 0, only: Stream | None = None) -> None:
        self._only = only
        self._from_ns = from_ns
        wanted = tuple(Stream) if only is None else (only,)
        # The places that were not passed yet.
        self._ahead = {
            stream: cursor.of(stream) or Place(0, 0)
            for stream in wanted
            if cursor.of(stream) is not None or from_ns
        }
        self._met = dict.fromkeys(wanted, 0)
        self._newest_ns = max((place.ns for place in self._ahead.values()), default=0)
        # Until the newest place was met, a frame behind it means that the place itself is gone.
        self._has_met_newest = self._newest_ns <= from_ns
        self.skips_lines = False

    def take(self, slab: Slab) -> Slab:
        """The slab's frames that are unread. Sets `skips_lines` where frames right behind the cursor are gone: the log that
        is left begins after the cursor's newest line.
        """
        if not self._ahead and self._only is None:
            return slab
        kept = [
            (start, end)
            for start, end in zip(slab.starts, slab.ends, strict=True)
            if self._is_unread(slab.data, start)
        ]
        return replace(slab, starts=[start for start, _ in kept], ends=[end for _, end in kept])

    def _is_unread(self, data: bytes, start: int) -> bool:
        if self._only is not None and data[start] != self._only:
            return False
        stream = Stream(data[start])
        place = self._ahead.get(stream)
        if place is None:
            if not self._has_met_newest:
                self._watch_for_gap(stamp_ns(data, start))
            return True
        return self._passes(stream, place, stamp_ns(data, start))

    def _passes(self, stream: Stream, place: Place, ns: int) -> bool:
        if ns < max(place.ns, self._from_ns):
            return False
        if ns == place.ns:
            self._has_met_newest |= ns == self._newest_ns
            if self._met[stream] < place.number:
                self._met[stream] += 1
                if self._met[stream] == place.number:
                    del self._ahead[stream]
                return False
        self._watch_for_gap(ns)
        del self._ahead[stream]
        return True

    def _watch_for_gap(self, ns: int) -> None:
        if not self._has_met_newest and ns > self._newest_ns:
            self._has_met_newest = True
            self.skips_lines = True
