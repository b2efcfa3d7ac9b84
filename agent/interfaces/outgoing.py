"""interfaces/outgoing — requests to URLs out of a spec, and the promises on them. No implementation."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from agent.core.outgoing import Reply, Unsent
from agent.spec import WebUrl


class Body(Protocol):
    """What a request sends, in pieces: of a size that is known before. Read once, from its start to its end."""

    @property
    def size_bytes(self) -> int: ...

    def pieces(self) -> AsyncGenerator[bytes]:
        """Together `size_bytes`. What it raises breaks the request off, and comes out of `send`."""
        ...


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """`seconds`: with a body of bytes for all of it, from the look-up of the name to the last byte that is read of the answer. With
    a body in pieces for each step of it: the connection, so many bytes that the endpoint takes of a piece, the answer. An
    endpoint that takes its time with a large file is thus not cut off, and one that stalls is.

    `most_body_bytes`: so much of the answer's body is read; with 0 the status alone counts, and no body is waited for.
    """

    method: str
    url: WebUrl = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Body = field(repr=False)
    seconds: float
    most_body_bytes: int = 0


class Sender(Protocol):
    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        """One request, to an address that the rules allowed when its connection was made. No redirect is followed.

        Raises nothing for what the network or the endpoint does. Headers that frame a request can't be set: ValueError.
        """
        ...


class Outgoing(Sender, Protocol):
    """Its own `send` makes a connection for each request, so that each is checked by the rules of its moment."""

    def session(self) -> AbstractAsyncContextManager[Sender]:
        """For many requests of one job: their connections are kept and used again while the block runs, by nobody else."""
        ...
