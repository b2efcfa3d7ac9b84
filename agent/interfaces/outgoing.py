"""interfaces/outgoing — requests to URLs out of a spec, and the promises on them. No implementation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.core.outgoing import Reply, Unsent
from agent.spec import WebUrl


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """`seconds` is for all of it, from the look-up of the name to the last byte that is read of the answer.

    `most_body_bytes`: so much of the answer's body is read; with 0 the status alone counts, and no body is waited for.
    """

    method: str
    url: WebUrl = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    seconds: float
    most_body_bytes: int = 0


class Outgoing(Protocol):
    async def send(self, request: OutgoingRequest) -> Reply | Unsent:
        """One request, one connection, to an address that the rules of this moment allow. No redirect is followed.

        Raises nothing for what the network or the endpoint does. Headers that frame a request can't be set: ValueError.
        """
        ...
