"""adapters/ssh — the SSH kit on the host's disk: built of the distribution's packages, found, and compared with its manifest. Starts no server."""

from agent.adapters.ssh.build import build_kit
from agent.adapters.ssh.errors import KitNotBuiltError
from agent.adapters.ssh.host_keys import DropbearKeys
from agent.adapters.ssh.kit import KitFolder, find_kit

__all__ = ["DropbearKeys", "KitFolder", "KitNotBuiltError", "build_kit", "find_kit"]
