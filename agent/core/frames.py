"""core/frames — the engine's raw log frames, taken apart. Pure: bytes in, offsets out; what a frame's place means is core/cursor.

A frame is an 8-byte header (stream, three zeros, length as big-endian 32 bits), then `<RFC 3339 with nine decimals> SP text`
(Docker Engine API, ContainerAttach "Stream format", with timestamps=1). One frame is one line with its newline, or one part
of a line over 16,384 bytes: the parts share one stamp, and only the last ends in a newline.

Stream 3 is the engine's own word that it can read no further. Stream 0 is ours, and only in drained files: the stamp of the
first line ever, before all others.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from struct import Struct

from agent.errors import AgentError, Blame

HEADER_BYTES = 8
# "2024-05-06T07:08:09.123456789" and Z, where the engine's zone is UTC; elsewhere the zone takes five bytes more.
SECOND_END, FRACTION_AT, ZONE_AT = HEADER_BYTES + 19, HEADER_BYTES + 20, HEADER_BYTES + 29
_UTC_TEXT, _OTHER_TEXT = ZONE_AT + 2, ZONE_AT + 7
UTC_MARK = ord("Z")
# The engine cuts lines at 16 KiB. What claims to be this long is no frame, and must not be waited for.
MOST_FRAME_BYTES = 16 << 20
NANOS = 1_000_000_000

_unpack_header = Struct(">LL").unpack_from
_pack_header = Struct(">BxxxL").pack


class Stream(IntEnum):
    STDOUT = 1
    STDERR = 2

    @property
    def label(self) -> str:
        return "stdout" if self is Stream.STDOUT else "stderr"


# The first four bytes of a header, as a number.
_LINE_KINDS = frozenset({1 << 24, 2 << 24})
_ASIDE_KINDS = frozenset({0, 3 << 24})
_LEAST_LINE_BYTES = _UTC_TEXT - HEADER_BYTES


class BrokenFramesError(AgentError):
    """The bytes are no log frames: another protocol, or a damaged file."""

    code, blame = "log_unreadable", Blame.HOST
    remedy = "See the engine's version with `gpu-agent doctor`; a drained log can be looked at in the job's folder."


@dataclass(frozen=True, slots=True)
class Slab:
    """Whole frames of lines in one buffer: frame i is data[starts[i]:ends[i]], header included.

    `first_ns`: the stamp of the first line ever, where the drained file tells it. `failure`: the engine's own word that it
    can read no further.
    """

    data: bytes
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    first_ns: int | None = None
    failure: str | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def texts(self) -> bytes:
        """All texts, one after the other."""
        data = self.data
        return b"".join(
            [
                data[start + _UTC_TEXT : end]
                if data[start + ZONE_AT] == UTC_MARK
                else data[start + _OTHER_TEXT : end]
                for start, end in zip(self.starts, self.ends, strict=True)
            ]
        )

    def stamped_texts(self) -> bytes:
        """All texts behind their stamps, as the engine wrote them."""
        data = self.data
        frames = zip(self.starts, self.ends, strict=True)
        return b"".join([data[start + HEADER_BYTES : end] for start, end in frames])


class FrameParser:
    """Takes chunks that may cut a frame anywhere, and hands out whole frames: all of a chunk at once, since a read or a call
    per frame would cost more than all the rest.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Slab:
        """The frames that are whole now. Raises BrokenFramesError."""
        data = self._rest + chunk if self._rest else chunk
        starts: list[int] = []
        ends: list[int] = []
        asides: list[tuple[int, int]] = []
        at, last_header, total = 0, len(data) - HEADER_BYTES, len(data)
        while at <= last_header:
            kind, size = _unpack_header(data, at)
            end = at + HEADER_BYTES + size
            if end > total:
                _check_start(kind, size)
                break
            if kind in _LINE_KINDS and size >= _LEAST_LINE_BYTES:
                starts.append(at)
                ends.append(end)
            else:
                _check_aside(kind, size)
                asides.append((at, end))
            at = end
        self._rest = data[at:]
        return _slab(data, starts, ends, asides)


def _check_start(kind: int, size: int) -> None:
    if (kind not in _LINE_KINDS and kind not in _ASIDE_KINDS) or size > MOST_FRAME_BYTES:
        raise BrokenFramesError(f"no log frame starts with {kind.to_bytes(4, 'big')!r} and the length {size}")


def _check_aside(kind: int, size: int) -> None:
    if kind not in _ASIDE_KINDS:
        raise BrokenFramesError(f"no log frame starts with {kind.to_bytes(4, 'big')!r} and the length {size}")


def _slab(data: bytes, starts: list[int], ends: list[int], asides: list[tuple[int, int]]) -> Slab:
    first_ns: int | None = None
    failure: str | None = None
    for start, end in asides:
        if data[start] == 0:
            first_ns = stamp_ns(data, start)
        else:
            failure = data[start + HEADER_BYTES : end].decode(errors="replace").strip()
    return Slab(data, starts, ends, first_ns, failure)


def stamp_ns(data: bytes, start: int) -> int:
    """The stamp of the frame at `start`, in nanoseconds since the epoch. Raises BrokenFramesError."""
    try:
        second = epoch(data[start + HEADER_BYTES : start + SECOND_END], _zone(data, start))
        return second * NANOS + int(data[start + FRACTION_AT : start + ZONE_AT])
    except ValueError as error:
        shown = data[start + HEADER_BYTES : start + _OTHER_TEXT]
        raise BrokenFramesError(f"no stamp of a log frame: {shown!r}") from error


def stamp(data: bytes, start: int) -> bytes:
    """The stamp as the engine wrote it; equal stamps of a stream are equal texts."""
    return data[start + HEADER_BYTES : text_start(data, start) - 1]


def text_start(data: bytes, start: int) -> int:
    """Where the text of the frame at `start` begins."""
    return start + (_UTC_TEXT if data[start + ZONE_AT] == UTC_MARK else _OTHER_TEXT)


def _zone(data: bytes, start: int) -> bytes:
    return b"+00:00" if data[start + ZONE_AT] == UTC_MARK else data[start + ZONE_AT : start + _OTHER_TEXT - 1]


@lru_cache(maxsize=256)
def epoch(second: bytes, zone: bytes) -> int:
    """Seconds since the epoch of `2024-05-06T07:08:09` in `+00:00`. Cached: thousands of lines share a second."""
    return int(datetime.fromisoformat((second + zone).decode()).timestamp())


def stamp_text(ns: int) -> str:
    """A stamp as the engine would write it."""
    second, nanos = divmod(ns, NANOS)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def first_line_frame(first_ns: int) -> bytes:
    """The frame that a drained file begins with: when the first line ever was written, whatever is left of it."""
    text = f"{stamp_text(first_ns)} ".encode()
    return _pack_header(0, len(text)) + text
