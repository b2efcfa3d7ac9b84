"""adapters/uploads/tus — resumable uploads: tus 1.0.0 with creation, checksum and expiration. Remembers no offset: the endpoint is asked.

https://tus.io/protocols/resumable-upload. It is believed within reason: one that leads round in circles is left.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from agent.adapters.uploads.tus_words import (
    Features,
    read_features,
    read_number,
    read_place,
    read_words,
    show_metadata,
    tus_broken,
)
from agent.adapters.uploads.wire import Question, Wire, with_own
from agent.core.delivery import Answer, Failure, Sent
from agent.core.outgoing import Reply, Unsent
from agent.interfaces import Content, Offered, Places
from agent.spec import Upload, WebUrl, read_url

# What a connection that breaks may cost where the endpoint keeps no part of a chunk. By the protocol's rule one with a checksum is
# thrown away unless it is whole; and it is read twice.
CHUNK_BYTES, CHECKED_CHUNK_BYTES = 64 << 20, 16 << 20
# Of one file in one go: places that were gone, and offsets that were not where they should be.
MOST_STUMBLES = 16
# What is not there. The protocol lets a HEAD say 403 of it, too.
GONE, GONE_BY_HEAD = frozenset({404, 410}), frozenset({403, 404, 410})
CONFLICT = 409
VERSION = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True, slots=True)
class Spot:
    """Where on the endpoint a file's next byte goes."""

    place: WebUrl
    offset: int


class TusDelivery:
    """Implements `interfaces.Delivery`."""

    def __init__(self, wire: Wire, upload: Upload, places: Places) -> None:
        self._wire = wire
        self._url = read_url(upload.url or "")
        self._headers = with_own(upload.headers, VERSION)
        self._asking = upload.headers
        self._metadata = upload.metadata
        self._places = places
        self._features = Features()

    async def begin(self, files: Sequence[Offered]) -> Answer:  # noqa: ARG002 - each is created when its turn comes
        """See `interfaces.Delivery`."""
        outcome = await self._wire.ask(Question("OPTIONS", self._url, self._asking))
        answer = read_words(outcome)
        if isinstance(outcome, Unsent):
            return answer
        if isinstance(answer, Failure):
            # A proxy may let no OPTIONS through: then the least is asked for.
            is_told = answer.is_passing or answer.code == "redirected"
            return answer if is_told else Sent()
        features = read_features(outcome)
        if isinstance(features, Failure):
            return features
        self._features = features
        return Sent()

    async def send(self, content: Content) -> Answer:
        """See `interfaces.Delivery`."""
        return await self._deliver(content, self._places)

    async def end(self, manifest: Content) -> Answer:
        """See `interfaces.Delivery`. Begun anew each time: another manifest may have the same size."""
        return await self._deliver(manifest, UnkeptPlaces())

    async def _deliver(self, content: Content, places: Places) -> Answer:
        for _ in range(1 + MOST_STUMBLES):
            spot = await self._find(content, places) or await self._create(content, places)
            if isinstance(spot, Failure):
                return spot
            answer = await self._fill(spot, content)
            if answer is not None:
                return answer
        return tus_broken("an offset that is never where it was said to be")

    async def _find(self, content: Content, places: Places) -> Spot | Failure | None:
        kept = await places.find(content.path)
        place = None if kept is None else read_place(self._url, kept)
        if place is None or isinstance(place, Failure):
            return None  # none, or at an endpoint that was another
        outcome = await self._wire.ask(Question("HEAD", place, self._headers))
        if isinstance(outcome, Reply) and outcome.status in GONE_BY_HEAD:
            return None
        answer = read_words(outcome)
        if isinstance(answer, Failure):
            return answer
        offset = read_number(outcome, "upload-offset")
        if offset is None:
            return tus_broken("no Upload-Offset")
        if read_number(outcome, "upload-length") not in {None, content.size_bytes}:
            return None  # the file is another by now
        if offset > content.size_bytes:
            return tus_broken(f"offset {offset} of {content.size_bytes} bytes")
        return Spot(place, offset)

    async def _create(self, content: Content, places: Places) -> Spot | Failure:
        own = {
            "Upload-Length": str(content.size_bytes),
            "Upload-Metadata": show_metadata({**self._metadata, "filename": content.path}),
        }
        outcome = await self._wire.ask(Question("POST", self._url, with_own(self._headers, own)))
        answer = read_words(outcome)
        if isinstance(answer, Failure):
            return answer
        location = outcome.headers.get("location") if isinstance(outcome, Reply) else None
        place = tus_broken("no Location") if location is None else read_place(self._url, location)
        if isinstance(place, Failure):
            return place
        await places.keep(content.path, place.text)
        return Spot(place, 0)

    async def _fill(self, spot: Spot, content: Content) -> Answer | None:
        """Chunk after chunk. None: the endpoint is not where it was thought to be."""
        offset = spot.offset
        while offset < content.size_bytes:
            until = min(offset + self._chunk_bytes, content.size_bytes)
            outcome = await self._patch(Spot(spot.place, offset), content, until)
            if isinstance(outcome, Reply) and outcome.status in GONE | {CONFLICT}:
                return None
            answer = read_words(outcome)
            if isinstance(answer, Failure):
                return answer
            now = read_number(outcome, "upload-offset")
            if now is None or now > content.size_bytes:
                return tus_broken(f"offset {now} of {content.size_bytes} bytes")
            if now != until:
                return None
            offset = until
        return Sent()

    async def _patch(self, spot: Spot, content: Content, until: int) -> Reply | Unsent:
        size = until - spot.offset
        own = {"Upload-Offset": str(spot.offset), "Content-Type": "application/offset+octet-stream"}
        if (kind := self._features.checksum) is not None:
            digest = await content.checksum(kind, spot.offset, size)
            own["Upload-Checksum"] = f"{kind.value} {base64.b64encode(digest).decode()}"
        headers = with_own(self._headers, own)
        return await self._wire.send("PATCH", spot.place, headers, content.part(spot.offset, size))

    @property
    def _chunk_bytes(self) -> int:
        return CHUNK_BYTES if self._features.checksum is None else CHECKED_CHUNK_BYTES


class UnkeptPlaces:
    """Implements `interfaces.Places` for what is never gone on with by another daemon."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    async def find(self, path: str) -> str | None:
        return self._places.get(path)

    async def keep(self, path: str, place: str) -> None:
        self._places[path] = place
