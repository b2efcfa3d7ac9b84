"""jobs/functions/neighbours — what a running function asks of other jobs, as a Protocol: who answers sits above the runner. No implementation."""

from typing import Protocol

from agent.core.job import Job
from agent.interfaces.job_socket import Call


class Neighbours(Protocol):
    """`job` is the asking one's row. What is refused raises CallRefusedError."""

    async def start(self, job: Job, call: Call) -> str:
        """Accept a child, or find the one that the same call made before; its id."""
        ...

    async def status(self, job: Job, job_id: object) -> bytes | None:
        """A job of the same chute and owner as the API shows it, in JSON; None: there is none."""
        ...

    async def cancel(self, job: Job, job_id: object) -> bool:
        """Whether it was asked to stop; False: there is none, or it is over."""
        ...

    def ports(self, job: Job) -> list[dict[str, object]]:
        """The job's own ports, as the API shows them."""
        ...
