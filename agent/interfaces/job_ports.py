"""interfaces/job_ports — connections to ports that jobs publish on this host. Knows no HTTP, and no other host."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from agent.errors import AgentError, Blame


class PortUnreachableError(AgentError):
    """Nobody answers at the job's port: its program does not listen there, or hung up."""

    code, blame = "port_unreachable", Blame.USER
    remedy = (
        "Let the job's program listen on 0.0.0.0 (or ::) at the port of its spec; while it starts, try again."
    )


class JobConnection(Protocol):
    """One TCP connection. Reading and writing may go on at once, each by one task. Both may be cancelled, which breaks it off."""

    async def read(self, most: int) -> bytes:
        """What is there, at most so many bytes, waiting for the first. b"" is the end. Raises PortUnreachableError."""
        ...

    async def write(self, data: bytes) -> None:
        """Return when all of it is handed to the kernel, however slowly the job takes it. Raises PortUnreachableError."""
        ...


class JobPorts(Protocol):
    """Ports are numbers of this host's, and leases say whose they are: no name or address of anybody's is ever connected to."""

    def connect(self, host_port: int, seconds: float) -> AbstractAsyncContextManager[JobConnection]:
        """A connection for the time of the block, made within `seconds`. Raises PortUnreachableError."""
        ...
