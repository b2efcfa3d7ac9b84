"""interfaces/cord_line — one connection on which a launcher waits for calls of its chute's cords. No implementation."""

from collections.abc import AsyncGenerator
from typing import Protocol

from agent.core.cord_answer import CordFault, CordHead


class CordLineBrokenError(Exception):
    """The connection has ended: its launcher has, or what came was none of the protocol."""


class CordLine(Protocol):
    """One call at a time. Nothing of it is trusted; nothing of it has a deadline but that of who waits.

    A call that is given up, at any of its steps, is given up by `close`: what comes of it later would be taken for the next one's.
    """

    @property
    def is_open(self) -> bool:
        """Whether a call may be made."""
        ...

    def welcome(self) -> None:
        """Tell its launcher that it is taken. Once, before the first call; until then it may be refused."""
        ...

    async def call(self, request: bytes) -> CordHead | CordFault:
        """Send the line, and wait for the head of the answer. Raises CordLineBrokenError, BadCordAnswerError."""
        ...

    def body(self) -> AsyncGenerator[bytes]:
        """What follows the head, as it comes, whole when it ends; close it. Raises CordLineBrokenError, BadCordAnswerError."""
        ...

    def close(self) -> None:
        """At once. Closed already is fine."""
        ...

    async def wait_closed(self) -> None:
        """Until it is closed, by either side."""
        ...
