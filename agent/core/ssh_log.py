"""core/ssh_log — what an SSH server says of itself, line by line. Pure; believes little: the job it runs in may write lines, too."""

import re
from dataclasses import dataclass

from agent.core.ssh_server import ENDED_WORDS

# dropbear's own lines are a tenth of that.
MOST_LINE_BYTES = 1024

# "[13] Nov 27 10:10:00 Pubkey auth succeeded for 'root' with ssh-ed25519 key SHA256:… from 172.17.0.1:42428"
_OWN = re.compile(r"\[(\d{1,10})\] [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (.*)")
_ENDED = re.compile(rf"{ENDED_WORDS} (\d{{1,3}})")
_READY = "Not backgrounding"
_ADDRESS = r"[0-9A-Za-z.:%\[\]]{1,80}"
_OPENED = re.compile(
    rf"Pubkey auth succeeded for '([^']{{1,64}})' with [\w@.-]{{1,64}} key (SHA256:[A-Za-z0-9+/]{{43}}) from ({_ADDRESS})"
)
_CLOSED = re.compile(rf"Exit \(([^)]{{1,64}})\) from <({_ADDRESS})>: .*")


@dataclass(frozen=True, slots=True)
class Ready:
    """It listens."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Somebody has logged in. `session`: the server's process for him, in the container."""

    session: int
    user: str
    fingerprint: str
    address: str


@dataclass(frozen=True, slots=True)
class Closed:
    """He has left."""

    session: int
    user: str
    address: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The server, and not only a session of it. `code`: its exit code."""

    code: int


@dataclass(frozen=True, slots=True)
class Words:
    """Anything else."""

    text: str


Line = Ready | Opened | Closed | Ended | Words


class SshLog:
    """One server's output, cut anywhere. A line that is too long is cut there, and its rest is dropped."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Line]:
        *whole, tail = data.split(b"\n")
        lines = [self._end(piece) for piece in whole]
        self._add(tail)
        return [read_line(line) for line in lines if line]

    def _add(self, piece: bytes) -> None:
        room = MOST_LINE_BYTES - len(self._rest)
        self._rest += piece[:room]

    def _end(self, piece: bytes) -> str:
        self._add(piece)
        line = self._rest.decode("ascii", "backslashreplace").rstrip("\r")
        self._rest.clear()
        # It may end in a terminal.
        return "".join(sign if sign.isprintable() else "?" for sign in line)


def read_line(line: str) -> Line:
    own = _OWN.fullmatch(line)
    if own is None:
        ended = _ENDED.fullmatch(line)
        return Words(line) if ended is None else Ended(int(ended[1]))
    session, said = int(own[1]), own[2]
    if said == _READY:
        return Ready()
    if opened := _OPENED.fullmatch(said):
        return Opened(session, opened[1], opened[2], opened[3])
    if closed := _CLOSED.fullmatch(said):
        return Closed(session, closed[1], closed[2])
    return Words(said)
