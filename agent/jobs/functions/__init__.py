"""jobs/functions — what running functions say and ask over their sockets: heard, kept, answered. Knows no runner, no HTTP and no socket."""

from agent.jobs.functions.cord_hosts import CordHosts
from agent.jobs.functions.functions import Functions
from agent.jobs.functions.neighbours import Neighbours

__all__ = ["CordHosts", "Functions", "Neighbours"]
