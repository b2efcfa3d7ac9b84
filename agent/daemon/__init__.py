"""daemon — the composition root: the only room that knows all others. It builds, starts and closes; it decides nothing."""

from agent.daemon.database import DatabaseMissingError
from agent.daemon.doctor import examine
from agent.daemon.kit import look_for_kit, make_kit
from agent.daemon.network import remove_network
from agent.daemon.repair import repair
from agent.daemon.serve import run
from agent.daemon.tokens import create_token, list_tokens, open_store, revoke_token

__all__ = [
    "DatabaseMissingError",
    "create_token",
    "examine",
    "list_tokens",
    "look_for_kit",
    "make_kit",
    "open_store",
    "remove_network",
    "repair",
    "revoke_token",
    "run",
]
