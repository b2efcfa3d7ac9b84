"""adapters/uploads/chutes — the Chutes job protocol, as the control plane's client: outcome, grants, forms, done. Sends no manifest: it has none.

Its requests: a POST of the outcome with the names of all files, answered with a URL for each; for each a PUT of a form; a PUT that
says done. The credentials of the first and the last are in their URL, or in the spec's headers; the granted URLs get neither.
"""

import json
import mimetypes
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from urllib.parse import quote

from agent.adapters.uploads.wire import (
    JSON,
    OCTETS,
    Question,
    Wire,
    decode,
    grant_broken,
    read_granted,
    with_own,
)
from agent.core.delivery import Answer, Failure, Sent, read_answer
from agent.core.job import Job, Outcome
from agent.core.outgoing import Reply
from agent.interfaces import Body, Content, Offered
from agent.spec import Upload, read_url

# All grants come in one answer.
MOST_GRANT_BYTES = 16 << 20
# The table that Python brings: the system's files differ from host to host, and reading them blocks.
TYPES = mimetypes.MimeTypes()


class ChutesDelivery:
    """Implements `interfaces.Delivery`. To be opened once the job's outcome is decided: it is the first that is told."""

    def __init__(self, wire: Wire, job: Job, upload: Upload) -> None:
        self._wire = wire
        self._status_url = read_url(upload.status_url or "")
        self._headers = upload.headers
        self._status = _status(job)
        self._granted: Mapping[str, object] = {}

    async def begin(self, files: Sequence[Offered]) -> Answer:
        """See `interfaces.Delivery`."""
        names = [file.path for file in files]
        told = {**self._status, "output_filenames": names}
        reply = await self._wire.post_json(self._status_url, self._headers, told, MOST_GRANT_BYTES)
        if isinstance(reply, Failure):
            return reply
        granted = _read_grants(reply)
        if isinstance(granted, Failure):
            return granted
        self._granted = {name: granted[name] for name in names if name in granted}
        return Sent()

    async def send(self, content: Content) -> Answer:
        """See `interfaces.Delivery`."""
        if content.path not in self._granted:
            return Failure("not_granted", is_passing=False)
        url = read_granted(self._granted[content.path])
        if isinstance(url, Failure):
            return url
        form = Form(content, secrets.token_hex(16))
        return await self._wire.put(url, {"Content-Type": form.content_type}, form)

    async def end(self, manifest: Content) -> Answer:  # noqa: ARG002 - the protocol has none
        """See `interfaces.Delivery`."""
        headers = with_own(self._headers, {"Content-Type": JSON})
        body = json.dumps({"status": "done"}).encode()
        return read_answer(await self._wire.ask(Question("PUT", self._status_url, headers, body)))


class Form:
    """A file as the protocol's form of two parts. Implements `interfaces.Body`. `boundary` must be known to no job before."""

    def __init__(self, content: Content, boundary: str) -> None:
        name = quote(content.path.rpartition("/")[2], safe="")
        kind = TYPES.guess_type(name)[0] or OCTETS
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._before = (
            f"--{boundary}\r\nContent-Type: {kind}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        ).encode()
        self._file: Body = content.part(0, content.size_bytes)
        self._after = (
            f"\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f'Content-Disposition: form-data; name="path"\r\n\r\n{content.path}\r\n--{boundary}--\r\n'
        ).encode()
        self.size_bytes = len(self._before) + self._file.size_bytes + len(self._after)

    async def pieces(self) -> AsyncGenerator[bytes]:
        yield self._before
        async with aclosing(self._file.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        yield self._after


def _status(job: Job) -> dict[str, object]:
    match job.outcome:
        case None:
            raise ValueError("the outcome is not decided yet")
        case Outcome.SUCCEEDED:
            return {"status": "complete", "result": None}
        case Outcome.CANCELLED:
            return {"status": "cancelled", "detail": "Job was cancelled."}
        case _:
            why = "" if job.reason is None else f"{job.reason.message} ({job.reason.code})"
            return {"status": "error", "detail": f"Job failed: {why or job.outcome.value}"}


def _read_grants(reply: Reply) -> dict[str, object] | Failure:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind == JSON or kind.endswith("+json")):
        return Failure("grant_broken", is_passing=True, status=reply.status, detail=f"content type {kind!r}")
    decoded = decode(reply, MOST_GRANT_BYTES)
    if isinstance(decoded, Failure):
        return decoded
    if not isinstance(decoded, dict):
        return grant_broken("an answer that is no object")
    urls = decoded.get("output_storage_urls")
    if urls is None:
        return {}  # nothing is wanted
    return urls if isinstance(urls, dict) else grant_broken("output_storage_urls that are no object")
