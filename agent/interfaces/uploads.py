"""interfaces/uploads — how files of one job get to one endpoint, whatever its protocol. No implementation.

A delivery speaks the protocol and says what the endpoint made of it. When to try again, how many at once and what is kept of it
all is its caller's.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.core.delivery import Answer
from agent.core.job import Job
from agent.interfaces.outgoing import Body
from agent.spec import Upload


@dataclass(frozen=True, slots=True)
class Offered:
    """A file that will be sent. `path` as it travels: UTF-8, other bytes percent-encoded."""

    path: str
    size_bytes: int


class Checksum(StrEnum):
    SHA1 = "sha1"
    SHA256 = "sha256"


class Content(Protocol):
    """A file that is open for as long as it is sent. Everything that reads raises OutputChangedError, which nobody catches
    but who gave the content.
    """

    @property
    def path(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    def part(self, start: int, size_bytes: int) -> Body:
        """These bytes, to be sent. To be asked for in order; to go back or to leave out is fine, and costs a second read."""
        ...

    async def checksum(self, kind: Checksum, start: int, size_bytes: int) -> bytes:
        """The digest of these bytes alone, for protocols that send it before them. Read in constant memory."""
        ...


class Places(Protocol):
    """Where on the endpoint a file's half-sent upload lies: a capability, so it is kept with the job's secrets.

    Raises StateFullError, StateReadOnlyError, JobFolderMissingError.
    """

    async def find(self, path: str) -> str | None:
        """None: there is none, or the file has changed since: what lies there is then the beginning of another."""
        ...

    async def keep(self, path: str, place: str) -> None:
        """Durable when it returns. A later place of the same path counts."""
        ...


class Delivery(Protocol):
    """One job's way to its endpoint. Every method may be called again after a failure, and after a restart; the endpoint is told
    the same again, under the same names. None raises for what the network or the endpoint does.
    """

    async def begin(self, files: Sequence[Offered]) -> Answer:
        """First, in every block, where a protocol wants that or not: `files` are all that belong to the upload, the manifest aside,
        and those that are still to be sent come first.
        """
        ...

    async def send(self, content: Content) -> Answer:
        """One file, whole. Several at once are fine, of different paths."""
        ...

    async def end(self, manifest: Content) -> Answer:
        """After the last: the manifest, or what else tells that all is there."""
        ...


class Deliveries(Protocol):
    def open(self, job: Job, upload: Upload, places: Places) -> AbstractAsyncContextManager[Delivery]:
        """The way to `upload`, whose secrets are in it. Connections are kept for as long as the block runs, of this job alone."""
        ...
