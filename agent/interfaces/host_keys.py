"""interfaces/host_keys — what makes host keys, and its promise. No implementation."""

from typing import Protocol

from agent.core.host_key import HostKey
from agent.core.ssh_kit import SshKit
from agent.errors import AgentError, Blame


class HostKeyNotMadeError(AgentError):
    """The kit's own program for it failed, or took too long."""

    code, blame = "host_key_not_made", Blame.HOST
    remedy = "Try again; if it stays so, the host's owner should run `gpu-agent kit check` and `kit build`."


class HostKeys(Protocol):
    async def make(self, kit: SshKit) -> HostKey:
        """Another one each time. Nothing of it is left outside of the answer. Raises HostKeyNotMadeError."""
        ...
