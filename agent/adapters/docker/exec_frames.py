"""adapters/docker/exec_frames — what a command without a terminal wrote, out of the engine's frames. Pure; reads no socket.

A frame is an 8-byte header (stream, three zeros, length as big-endian 32 bits) and its bytes (Docker Engine API,
ContainerAttach, "Stream format"). Nothing is kept but a cut header: a frame's bytes are handed on as they come.
"""

from struct import Struct

from agent.core.exec import ExecOutput
from agent.core.frames import HEADER_BYTES, Stream

_header = Struct(">BxxxL").unpack
# The engine's own word that it can read no further.
_SYSTEM_ERROR = 3


class BrokenExecFramesError(Exception):
    """The bytes are no frames: another protocol."""


class ExecFrames:
    def __init__(self) -> None:
        self._head = b""
        self._stream = Stream.STDOUT
        self._left = 0

    @property
    def is_whole(self) -> bool:
        """Whether an end here is an end between two frames."""
        return not self._head and not self._left

    def feed(self, chunk: bytes) -> list[ExecOutput]:
        """In order; what follows on the same stream is one piece. Raises BrokenExecFramesError."""
        found: list[ExecOutput] = []
        pieces: list[bytes] = []
        last, at = self._stream, 0
        while at < len(chunk):
            if not self._left:
                at = self._read_head(chunk, at)
                continue
            if self._stream is not last:
                _keep(found, last, pieces)
                last, pieces = self._stream, []
            piece = chunk[at : at + self._left]
            pieces.append(piece)
            at += len(piece)
            self._left -= len(piece)
        _keep(found, last, pieces)
        return found

    def _read_head(self, chunk: bytes, at: int) -> int:
        """Takes of the chunk what belongs to a header, and returns where it is behind that."""
        missing = HEADER_BYTES - len(self._head)
        self._head += chunk[at : at + missing]
        if len(self._head) == HEADER_BYTES:
            kind, self._left = _header(self._head)
            if kind > _SYSTEM_ERROR:
                raise BrokenExecFramesError(f"no frame begins with {self._head!r}")
            # Stream 0 is stdin's echo in old engines; a system error is for people: it is shown where errors are.
            self._stream = Stream.STDERR if kind in {Stream.STDERR, _SYSTEM_ERROR} else Stream.STDOUT
            self._head = b""
        return at + missing


def _keep(found: list[ExecOutput], stream: Stream, pieces: list[bytes]) -> None:
    if pieces:
        found.append(ExecOutput(stream, pieces[0] if len(pieces) == 1 else b"".join(pieces)))
