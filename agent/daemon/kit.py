"""daemon/kit — the SSH kit built, or looked over, where this config has it. Beside a running daemon, or before its first start."""

from agent.adapters.ssh import build_kit, find_kit
from agent.config import Config
from agent.core.ssh_kit import KitTrouble, SshKit
from agent.daemon.values import kit_folder_of


def make_kit(config: Config) -> SshKit:
    """Raises KitNotBuiltError and OSError."""
    return build_kit(kit_folder_of(config))


def look_for_kit(config: Config) -> SshKit | KitTrouble:
    return find_kit(kit_folder_of(config))
