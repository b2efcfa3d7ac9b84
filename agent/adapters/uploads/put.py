"""adapters/uploads/put — one PUT a file to a URL that is made of its path. Asks nobody for URLs: `presign` does."""

from collections.abc import Sequence

from agent.adapters.uploads.wire import Wire, with_type
from agent.core.delivery import Answer, Failure, Sent
from agent.core.job import Job
from agent.interfaces import Content, Offered
from agent.spec import Upload, fill_template, read_url


class PutDelivery:
    """Implements `interfaces.Delivery`."""

    def __init__(self, wire: Wire, job: Job, upload: Upload) -> None:
        self._wire = wire
        self._job = job
        self._template = upload.url or ""
        self._headers = with_type(upload.headers)

    async def begin(self, files: Sequence[Offered]) -> Answer:  # noqa: ARG002 - the protocol has no beginning
        """See `interfaces.Delivery`."""
        return Sent()

    async def send(self, content: Content) -> Answer:
        """See `interfaces.Delivery`."""
        filled = fill_template(self._template, job=self._job.id, attempt=self._job.attempt, path=content.path)
        try:
            url = read_url(filled)
        except ValueError as error:
            return Failure("path_unfit", is_passing=False, detail=f"the file's URL {error}")
        return await self._wire.put(url, self._headers, content.part(0, content.size_bytes))

    async def end(self, manifest: Content) -> Answer:
        """See `interfaces.Delivery`."""
        return await self.send(manifest)
