"""adapters/uploads — one protocol a module, by which output files get to an endpoint. When to try again is not decided here.

Speaks through `interfaces.Outgoing` alone, so that every request passes the guard; holds no connection of its own.
"""

from agent.adapters.uploads.deliveries import UploadDeliveries
from agent.adapters.uploads.wire import Waits

__all__ = ["UploadDeliveries", "Waits"]
