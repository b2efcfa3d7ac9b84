"""adapters/uploads/presign — one PUT a file to a URL that an endpoint gives when it is asked. Nothing of the spec's headers goes to those URLs.

Such URLs expire. So they are asked for when the next file needs one, for that file and those that follow it, and are never kept.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from agent.adapters.uploads.wire import Wire, decode, grant_broken, read_granted
from agent.core.delivery import Answer, Failure, Sent
from agent.core.job import Job
from agent.interfaces import Content, Offered
from agent.spec import Upload, WebUrl, read_url

# Files a question; and so many URLs are held at most.
BATCH = 256
# A granted URL is a few hundred characters, and some thousand with a session's token in it.
MOST_GRANT_BYTES = 4 << 20
# Refusals that an expired URL gets.
EXPIRED = frozenset({401, 403, 410})
MOST_ASKED_AGAIN = 2
NOT_GRANTED = Failure("not_granted", is_passing=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """What the endpoint gave for one file: a URL, or none. `question`: by number."""

    file: Offered
    url: WebUrl | Failure
    question: int


class PresignDelivery:
    """Implements `interfaces.Delivery`."""

    def __init__(self, wire: Wire, job: Job, upload: Upload) -> None:
        self._wire = wire
        self._job = job
        self._presign = read_url(upload.presign or "")
        self._headers = upload.headers
        self._asking = asyncio.Lock()
        self._question = 0
        self._granted: dict[str, Grant] = {}
        # Not asked for: those whose URLs were forgotten, then what follows in the list of all.
        self._again: deque[Offered] = deque()
        self._files: Sequence[Offered] = ()
        self._next = 0

    async def begin(self, files: Sequence[Offered]) -> Answer:
        """See `interfaces.Delivery`."""
        self._granted.clear()
        self._again.clear()
        self._files, self._next = files, 0
        return Sent()

    async def send(self, content: Content) -> Answer:
        """See `interfaces.Delivery`."""
        refusal = Failure("url_refused", is_passing=False)
        for _ in range(1 + MOST_ASKED_AGAIN):
            grant = await self._grant(Offered(content.path, content.size_bytes))
            if isinstance(grant, Failure):
                return grant
            if isinstance(grant.url, Failure):
                return grant.url
            answer = await self._wire.put(grant.url, {}, content.part(0, content.size_bytes))
            if not (isinstance(answer, Failure) and answer.status in EXPIRED):
                return answer
            refusal = Failure("url_refused", is_passing=False, status=answer.status)
            self._forget(grant.question)
        return refusal

    async def end(self, manifest: Content) -> Answer:
        """See `interfaces.Delivery`."""
        return await self.send(manifest)

    async def _grant(self, file: Offered) -> Grant | Failure:
        async with self._asking:
            if file.path not in self._granted:
                failure = await self._ask(self._batch(file))
                if failure is not None:
                    return failure
            return self._granted.pop(file.path)

    def _batch(self, file: Offered) -> list[Offered]:
        """The file and those that are needed next, as many as may be held."""
        batch = {file.path: file}
        while len(batch) + len(self._granted) < BATCH:
            if self._again:
                following = self._again.popleft()
            elif self._next < len(self._files):
                following = self._files[self._next]
                self._next += 1
            else:
                break
            batch.setdefault(following.path, following)
        return list(batch.values())

    async def _ask(self, batch: Sequence[Offered]) -> Failure | None:
        files = [{"path": file.path, "size": file.size_bytes} for file in batch]
        question = {"job": self._job.id, "attempt": self._job.attempt, "files": files}
        reply = await self._wire.post_json(self._presign, self._headers, question, MOST_GRANT_BYTES)
        decoded = reply if isinstance(reply, Failure) else decode(reply, MOST_GRANT_BYTES)
        urls = decoded.get("urls") if isinstance(decoded, dict) else None
        if isinstance(urls, dict):
            given = {file.path: read_granted(urls[file.path]) for file in batch if file.path in urls}
        else:
            failure = decoded if isinstance(decoded, Failure) else grant_broken('no {"urls": {…}}')
            if failure.is_passing:
                self._again.extendleft(reversed(batch[1:]))
                return failure
            given = {file.path: failure for file in batch}  # or each of them would ask for itself
        self._question += 1
        for file in batch:
            url = given.get(file.path, NOT_GRANTED)
            self._granted[file.path] = Grant(file, url, self._question)
        return None

    def _forget(self, question: int) -> None:
        """URLs of one question expire together: those that were not used yet are asked for again."""
        stale = [grant for grant in self._granted.values() if grant.question == question]
        for grant in stale:
            del self._granted[grant.file.path]
        self._again.extendleft(grant.file for grant in reversed(stale))
