"""core/tail — where the last lines of a log begin, found in one pass that keeps places and no lines. Pure."""

from collections import deque
from dataclasses import dataclass

from agent.core.cursor import Cursor, Place
from agent.core.frames import Slab, Stream, stamp_ns

_NEWLINE = ord("\n")


@dataclass(frozen=True, slots=True)
class _Seen:
    """One line: the stamp of its frames, and the numbers of its first and last one among the stream's frames of that stamp."""

    stream: Stream
    ns: int
    first: int
    last: int


class TailFinder:
    """Feed it a log in its order from `since_ns` on (0: from its start); `cursor` is then right before the last `lines` lines."""

    def __init__(self, attempt: int, lines: int, since_ns: int) -> None:
        self._attempt = attempt
        self._lines = lines
        self._since_ns = since_ns
        self._kept: deque[_Seen] = deque()
        self._passed: dict[Stream, Place] = {}
        self._numbers: dict[Stream, tuple[int, int]] = {}
        self._open: dict[Stream, tuple[int, int]] = {}

    @property
    def is_full(self) -> bool:
        """As many lines were there as are wanted; if not, they begin before `since_ns`."""
        return len(self._kept) >= self._lines

    def feed(self, slab: Slab) -> None:
        data = slab.data
        for start, end in zip(slab.starts, slab.ends, strict=True):
            stream, ns = Stream(data[start]), stamp_ns(data, start)
            last_ns, last_number = self._numbers.get(stream, (0, 0))
            number = last_number + 1 if ns == last_ns else 1
            self._numbers[stream] = ns, number
            first_ns, first = self._open.setdefault(stream, (ns, number))
            if data[end - 1] == _NEWLINE:
                del self._open[stream]
                self._keep(_Seen(stream, ns, first if first_ns == ns else 1, number))

    def _keep(self, seen: _Seen) -> None:
        self._kept.append(seen)
        if len(self._kept) > self._lines:
            passed = self._kept.popleft()
            self._passed[passed.stream] = Place(passed.ns, passed.last)

    def cursor(self) -> Cursor:
        """From the start of the log, where it has no more lines than are wanted."""
        if not self._passed and self._since_ns == 0:
            return Cursor(self._attempt)
        newest = max((place.ns for place in self._passed.values()), default=self._since_ns)
        cursor = Cursor(self._attempt)
        for stream in Stream:
            cursor = cursor.at(stream, self._passed.get(stream) or self._before(stream, newest))
        return cursor

    def _before(self, stream: Stream, newest_ns: int) -> Place:
        """A stream none of whose lines was passed: right before its first line, or where the other one is."""
        kept = (Place(seen.ns, seen.first - 1) for seen in self._kept if seen.stream is stream)
        return next(kept, Place(newest_ns, 0))
