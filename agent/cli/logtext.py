"""cli/logtext — the API's NDJSON of a log as the bytes that a job wrote. Pure: chunks in, pieces out; millions of lines a second
matter here, so a chunk is taken apart by one regular expression and not line by line.
"""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any


class Stamps(Enum):
    """Whether each line begins with its time."""

    HIDDEN = "hidden"
    SHOWN = "shown"


@dataclass(frozen=True, slots=True)
class Text:
    """Bytes of the job's own, of stdout or stderr."""

    stream: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """What the agent has to say in between: lines are missing, or another attempt begins."""

    text: str


Piece = Text | Mark

_HEAD = rb'\{"type":"line","attempt":[0-9]+,"stream":"'
_TAIL = rb',"cursor":"[^"]*"\}\n'
# The usual chunk: stdout alone, nothing escaped.
_PLAIN = re.compile(_HEAD + rb'stdout","at":"[^"]*","line":"([^"\\]*)"' + _TAIL)
_WHOLE = re.compile(_HEAD + rb'(stdout|stderr)","at":"([^"]*)","line":"([^"\\]*(?:\\.[^"\\]*)*)"' + _TAIL)
_CURSOR = re.compile(rb'"cursor":"([^"]*)"\}\Z')


class LogText:
    """Takes chunks that may end anywhere. `cursor` is behind the last line handed out; None before the first."""

    def __init__(self, stamps: Stamps) -> None:
        self._stamps = stamps
        self._rest = b""
        self._is_cut = {b"stdout": False, b"stderr": False}
        self.cursor: str | None = None

    def restart(self) -> None:
        """The next chunk is of a new answer, that begins behind `cursor`."""
        self._rest = b""

    def forget(self) -> None:
        """The next chunk is the beginning of another log."""
        self.restart()
        self.cursor = None
        self._is_cut = dict.fromkeys(self._is_cut, False)

    def take(self, chunk: bytes) -> bytes:
        """The whole lines of NDJSON that are there now; moves the cursor behind them."""
        end = chunk.rfind(b"\n") + 1
        if end == 0:
            self._rest += chunk
            return b""
        whole = self._rest + chunk[:end]
        self._rest = chunk[end:]
        found = _CURSOR.search(whole, whole.rfind(b'"cursor":"'), len(whole) - 1)
        if found is not None:
            self.cursor = found[1].decode()
        return whole

    def pieces(self, whole: bytes) -> list[Piece]:
        """What `take` gave, as it is to be written out."""
        lines = whole.count(b"\n")
        if not any(self._is_cut.values()):
            if self._stamps is Stamps.HIDDEN:
                plain = _PLAIN.findall(whole)
                if len(plain) == lines:
                    return [Text(b"stdout", b"\n".join([*plain, b""]))] if plain else []
            found = _WHOLE.findall(whole)
            if len(found) == lines:
                return list(self._join(found))
        return [self._piece(json.loads(line)) for line in whole.splitlines()]

    def _join(self, lines: list[tuple[bytes, bytes, bytes]]) -> Iterator[Piece]:
        for stream, run in groupby(lines, key=_stream_of):
            entries = list(run)
            texts = unescape([text for _, _, text in entries])
            if self._stamps is Stamps.SHOWN:
                texts = [f"{at.decode()} {text}" for (_, at, _), text in zip(entries, texts, strict=True)]
            yield Text(stream, "\n".join([*texts, ""]).encode())

    def _piece(self, record: dict[str, Any]) -> Piece:
        if record["type"] != "line":
            return Mark(mark_text(record))
        stream = str(record["stream"]).encode()
        text = b64decode(record["base64"]) if "base64" in record else str(record["line"]).encode()
        # Pieces of one line belong together: its time stands once, its end comes with the last.
        if self._stamps is Stamps.SHOWN and not self._is_cut[stream]:
            text = str(record["at"]).encode() + b" " + text
        self._is_cut[stream] = bool(record.get("cut"))
        return Text(stream, text if self._is_cut[stream] else text + b"\n")


def _stream_of(line: tuple[bytes, bytes, bytes]) -> bytes:
    return line[0]


def unescape(texts: list[bytes]) -> list[str]:
    """JSON strings without their quotes, all at once: a call for each would cost more than all the rest."""
    decoded: list[str] = json.loads(b'["' + b'","'.join(texts) + b'"]')
    return decoded


def mark_text(record: dict[str, Any]) -> str:
    if record["type"] == "attempt":
        return f"attempt {record['attempt']}"
    if record["type"] == "truncated" and record.get("at") is None:
        return "the log can't be read further"
    if record["type"] == "truncated":
        why = "were rotated away" if record.get("cause") == "rotated" else "can't be read"
        return f"older lines {why}; what is left begins at {record['at']}"
    return json.dumps(record)
