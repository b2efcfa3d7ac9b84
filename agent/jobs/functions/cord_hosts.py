"""jobs/functions/cord_hosts — who calls the cords that a running job answers, as a Protocol: it sits above the runner. No implementation."""

from typing import Protocol

from agent.core.job import Job
from agent.interfaces.cord_line import CordLine


class CordHosts(Protocol):
    async def serve(self, job: Job, line: CordLine) -> None:
        """Welcome the line and make calls on it; return when it is closed, or is to be. Raises CallRefusedError."""
        ...
