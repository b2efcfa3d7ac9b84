"""interfaces/ssh_kit — the host's SSH kit. Says nothing of how one is built."""

from typing import Protocol

from agent.core.ssh_kit import KitTrouble, SshKit


class SshKits(Protocol):
    async def look(self) -> SshKit | KitTrouble:
        """The kit for new jobs, whole by its manifest, or why there is none.

        What has changed since the last look is read again, so a kit may be built, or built anew, at any time. One that was
        given out before is never changed or removed: containers have it mounted.
        """
        ...
