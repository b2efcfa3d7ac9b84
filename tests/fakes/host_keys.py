"""Host keys that open nothing: each is another, and its public half is one that a parser takes."""

import base64

from agent.core.host_key import HostKey
from agent.core.ssh_kit import SshKit
from agent.interfaces import HostKeyNotMadeError
from agent.spec import PublicKey

_KIND = "ssh-ed25519"


def public_key(number: int) -> PublicKey:
    """Any 32 bytes are one, to whoever checks no signature."""
    fields = (_KIND.encode(), number.to_bytes(32))
    blob = b"".join(len(field).to_bytes(4) + field for field in fields)
    return PublicKey(_KIND, base64.b64encode(blob).decode(), "")


def host_key(number: int) -> HostKey:
    return HostKey(f"the private half of {number}".encode(), public_key(number))


class FakeHostKeys:
    def __init__(self) -> None:
        self.made = 0
        self.is_broken = False

    async def make(self, kit: SshKit) -> HostKey:
        if self.is_broken:
            raise HostKeyNotMadeError("dropbearkey ended with 1")
        self.made += 1
        return host_key(self.made)
