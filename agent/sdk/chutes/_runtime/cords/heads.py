"""chutes/_runtime/cords/heads — the bytes that a call comes and is answered in. Moves none of them."""

from __future__ import annotations

from json import dumps, loads
from typing import Any, Iterator, Mapping, NamedTuple

from chutes._cord_binding import Request
from chutes._runtime.cords.answers import Refusal, Whole

MAX_FRAME_BYTES = 1 << 16
LAST_FRAME = bytes(4)


class Asked(NamedTuple):
    """A call as the host writes it. `position`: the cord's in the chute's list, and `function` is its name, to be sure."""

    position: int
    function: str
    call: str
    request: Request


def serve_line(pid: int) -> bytes:
    return _line({"id": 1, "call": "serve", "pid": pid})


def read_call(line: bytes) -> Asked:
    said = loads(line)
    request = Request(said["params"], said["query"], said["has_body"], said["body"])
    return Asked(said["cord"], said["function"], said["call"], request)


def whole(answer: Whole) -> bytes:
    """The head; the body goes behind it."""
    return _head(
        answer.status, answer.content_type, answer.headers, {"stream": False, "bytes": len(answer.body)}
    )


def stream(content_type: str) -> bytes:
    """The head; frames go behind it."""
    return _head(200, content_type, {}, {"stream": True})


def refusal(refused: Refusal) -> bytes:
    return _line({"error": {"kind": refused.kind, "type": refused.type, "message": refused.message}})


def frames(piece: bytes) -> Iterator[bytes]:
    for start in range(0, len(piece), MAX_FRAME_BYTES):
        part = piece[start : start + MAX_FRAME_BYTES]
        yield len(part).to_bytes(4, "big") + part


def _head(status: int, content_type: str, headers: Mapping[str, str], rest: Mapping[str, Any]) -> bytes:
    return _line({"status": status, "content_type": content_type, "headers": dict(headers), **rest})


def _line(said: Mapping[str, Any]) -> bytes:
    # Not in ASCII alone: a message of four thousand characters must fit into a head of 64 KiB.
    return dumps(said, ensure_ascii=False, allow_nan=False).encode() + b"\n"
