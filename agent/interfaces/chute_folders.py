"""interfaces/chute_folders — the files of deployed versions, and the promises on each method. No implementation."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an archive held. `digest` in hex, of the files alone: how they were packed says nothing. `files`: their paths; `size_bytes`:
    what they take on the disk, about.
    """

    digest: str
    files: frozenset[str]
    size_bytes: int


class Receiving(Protocol):
    """An archive that arrives. It has no name on disk: a crash leaves nothing of it."""

    async def write(self, data: bytes) -> None: ...

    async def close(self) -> None:
        """Let go of it. Once more is fine."""
        ...


class ChuteFolders(Protocol):
    """`<state>/chutes/<version>/{files/, deploy.json}`. All writes raise StateFullError or StateReadOnlyError, leaving nothing half-done."""

    async def receive(self) -> Receiving: ...

    async def unpack(self, received: Receiving, version_id: str, deploy: str) -> Unpacked:
        """Make the version's folder of the archive and of `deploy`, whole or not at all (made aside, then renamed).

        The files can be read by any user of an image. `deploy` is private: it holds secrets. Raises DeployRefusedError with all that
        is wrong with the archive.
        """
        ...

    async def deploy(self, version_id: str) -> str:
        """What `unpack` was given. Raises ChuteFilesMissingError."""
        ...

    async def remove(self, version_id: str) -> None:
        """Gone is fine."""
        ...

    async def names(self) -> set[str]:
        """All that is there: versions, and what is half-made."""
        ...

    async def sweep(self, names: set[str], known: set[str]) -> list[str]:
        """Remove what no row knows and what a crash left half-made, of `names` alone; returns those removed.

        `known` is to be found out after `names`: what was made since is in neither.
        """
        ...
