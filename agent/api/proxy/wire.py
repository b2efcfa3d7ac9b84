"""api/proxy/wire — the HTTP/1.1 spoken with a job: h11 writes and reads it, and here are the rules that are stricter. Moves no bytes.

What a job answers is hostile. Nothing of it is passed on as bytes: it is taken apart here, and written anew for the client.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import h11

from agent.core.proxy_heads import (
    NO_BODY,
    BadAnswerError,
    BadRequestHeadError,
    Framing,
    Header,
    has_control_characters,
)

MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 200
# 100 Continue, 103 Early Hints: a server sends one or two.
MAX_INTERIM_ANSWERS = 16
# Above 64 KiB, h11's copies are memory that is asked of the kernel anew each time: ten times as dear a byte.
READ_BYTES = 64 << 10
COUNTED_READ_BYTES = 256 << 10
# Each costs h11 some microseconds, and a job may send a body in chunks of one byte: others have their turn in between.
MAX_EVENTS_AT_ONCE = 256
# A number of twenty digits, which h11 takes, is another number to who counts in 64 bits.
_MAX_DIGITS = 18
_VERSIONS = (b"1.0", b"1.1")
_HEAD_FAULT = f"the head of the answer is no HTTP/1, broke off, or is longer than {MAX_HEAD_BYTES} bytes"
_BODY_FAULT = "the body of the answer broke off, or its chunks are not well-formed"
_FOLD = re.compile(rb"\n[ \t]")


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """`length`: what its Content-Length says, which for HEAD and 304 is that of a body which does not come."""

    status: int
    reason: str
    headers: tuple[Header, ...]
    length: int | None = None


class Wire:
    """One request and its answer. Asked once, and good for nothing after an error. `is_over`: the answer is whole.

    A body with a Content-Length is counted here and not by h11, whose copies of each byte hold it below 0.6 of what the job
    sends (docs/decisions/0018): where it begins and how long it is, h11 has said.
    """

    def __init__(self) -> None:
        # Its limit is "more than", and looked at only where a head is not whole; `read_at_most` does the rest.
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES - 1)
        self._method = ""
        self._interim = 0
        self._has_head = False
        self._left: int | None = None  # of the counted body
        self._held = b""  # of it, not taken yet
        self.is_over = False

    def ask(self, method: str, target: str, headers: Iterable[Header], framing: Framing) -> bytes:
        """The head of the request, which is whole where it has no body. Raises BadRequestHeadError."""
        self._method = method
        encoded = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers]
        try:
            head = self._h11.send(h11.Request(method=method, target=target, headers=encoded))
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            raise BadRequestHeadError(
                "the method, the path or a header of the request is not well-formed"
            ) from error
        return head + self.end() if framing == NO_BODY else head

    def write(self, piece: bytes) -> bytes:
        """A piece of the request's body, framed as its head said."""
        return self._h11.send(h11.Data(data=piece))

    def end(self) -> bytes:
        """The request is whole."""
        return self._h11.send(h11.EndOfMessage())

    @property
    def read_at_most(self) -> int:
        """How much may be fed next. While the head is not whole, so much that no head is ever longer than a head may be."""
        if self._left is not None:
            return COUNTED_READ_BYTES
        if self._has_head:
            return READ_BYTES
        return MAX_HEAD_BYTES - len(self.rest)

    @property
    def rest(self) -> bytes:
        """What came behind what was read: after an answer of 101, the other protocol's first bytes."""
        return self._h11.trailing_data[0]

    def feed(self, data: bytes) -> None:
        """What the job sent, when all before was taken. b"" is its end. Raises BadAnswerError."""
        if self._left is None:
            self._h11.receive_data(data)
        elif data:
            self._held = data
        else:
            raise BadAnswerError(f"the answer broke off, {self._left} bytes before its end")

    def take_head(self) -> AnswerHead | None:
        """The head of the final answer. None: it is not whole yet. Raises BadAnswerError."""
        while True:
            before = self.rest
            event = self._next()
            if not isinstance(event, h11.InformationalResponse | h11.Response):
                return None
            # h11 unfolds obs-fold. What was folded, every reader makes something else of, so it is refused.
            if _FOLD.search(before[: len(before) - len(self.rest)]):
                raise BadAnswerError("a header of the answer goes on in a second line")
            head = _head_of(event)
            if head.status >= 200 or head.status == 101:
                self._begin_body(head)
                return head
            self._interim += 1
            if self._interim >= MAX_INTERIM_ANSWERS:
                raise BadAnswerError("the job's port sends interim answers without an end")

    def take_body(self) -> bytes:
        """What has come of the body. b"": no more, until more is fed, or `is_over`. Raises BadAnswerError."""
        if self._left is not None:
            return self._take_counted(self._left)
        pieces: list[bytes] = []
        while len(pieces) < MAX_EVENTS_AT_ONCE:
            event = self._next()
            if not isinstance(event, h11.Data):
                self.is_over = isinstance(event, h11.EndOfMessage)
                break
            pieces.append(event.data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _begin_body(self, head: AnswerHead) -> None:
        self._has_head = True
        has_body = self._method != "HEAD" and head.status not in {204, 304}
        if head.length is not None and has_body:
            self._left, self._held = head.length, self.rest

    def _take_counted(self, left: int) -> bytes:
        taken, self._held = self._held[:left], b""
        self._left = left - len(taken)
        self.is_over = self._left == 0
        return taken

    def _next(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            # Not in h11's words: they quote what the job sent.
            raise BadAnswerError(_BODY_FAULT if self._has_head else _HEAD_FAULT) from error


def _head_of(event: h11.InformationalResponse | h11.Response) -> AnswerHead:
    if event.http_version not in _VERSIONS or event.status_code > 599:
        raise BadAnswerError("the answer does not begin with a status line of HTTP/1")
    if len(event.headers) > MAX_HEADERS:
        raise BadAnswerError(f"the answer has more than {MAX_HEADERS} headers")
    # h11 has seen to it that there is one length, of digits alone, and one coding, chunked; the coding would win.
    framed = {
        name: value for name, value in event.headers if name in {b"content-length", b"transfer-encoding"}
    }
    if len(framed) > 1:
        raise BadAnswerError("the answer has both Content-Length and Transfer-Encoding")
    length = framed.get(b"content-length")
    if length is not None and len(length) > _MAX_DIGITS:
        raise BadAnswerError("the answer's Content-Length is no number of this world")
    headers = tuple(_header(name, value) for name, value in event.headers.raw_items())
    return AnswerHead(
        event.status_code, _reason(event.reason), headers, None if length is None else int(length)
    )


def _header(name: bytes, raw: bytes) -> Header:
    value = _text(raw)
    # h11 lets all pass but NUL and line ends; RFC 9110, 5.5 has none but the tab.
    if has_control_characters(value):
        raise BadAnswerError(f"the answer's header {name[:64].decode()} has control characters")
    return name.decode(), value


def _reason(given: bytes) -> str:
    text = _text(given)
    return "" if has_control_characters(text) else text[:200]


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
