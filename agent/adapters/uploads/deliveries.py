"""adapters/uploads/deliveries — which protocol an upload is sent by. Speaks none itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.adapters.uploads.chutes import ChutesDelivery
from agent.adapters.uploads.presign import PresignDelivery
from agent.adapters.uploads.put import PutDelivery
from agent.adapters.uploads.tus import TusDelivery
from agent.adapters.uploads.wire import Waits, Wire
from agent.core.job import Job
from agent.interfaces import Delivery, Outgoing, Places
from agent.spec import Upload, UploadTo


class UploadDeliveries:
    """Implements `interfaces.Deliveries`."""

    def __init__(self, outgoing: Outgoing, waits: Waits | None = None) -> None:
        self._outgoing = outgoing
        self._waits = waits or Waits()

    @asynccontextmanager
    async def open(self, job: Job, upload: Upload, places: Places) -> AsyncIterator[Delivery]:
        """See `interfaces.Deliveries`. Raises ValueError for an upload that leads nowhere, which the spec's rules refuse."""
        async with self._outgoing.session() as sender:
            yield _choose(Wire(sender, self._waits), job, upload, places)


def _choose(wire: Wire, job: Job, upload: Upload, places: Places) -> Delivery:
    match upload:
        case Upload(to=UploadTo.PUT, url=str()):
            return PutDelivery(wire, job, upload)
        case Upload(to=UploadTo.PUT, presign=str()):
            return PresignDelivery(wire, job, upload)
        case Upload(to=UploadTo.CHUTES, status_url=str()):
            return ChutesDelivery(wire, job, upload)
        case Upload(to=UploadTo.TUS, url=str()):
            return TusDelivery(wire, upload, places)
    raise ValueError(f"nothing is sent by an upload to {upload.to} without its URL")
