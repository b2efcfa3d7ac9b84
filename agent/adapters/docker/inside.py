"""adapters/docker/inside — one file of a container, read through the engine. Runs nothing in it; says nothing of what the file means."""

import base64
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.adapters.docker import failures
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.streams import Streams
from agent.core.container import InsideFile
from agent.interfaces import EngineUnavailableError
from agent.interfaces.engine import Trouble

STAT = "X-Docker-Container-Path-Stat"
# Go's os.FileMode, which the engine tells: its upper bits say what is no regular file (go doc io/fs.ModeType).
_TYPE_BITS = 0x8F280000
_LINK_BIT = 0x08000000
# The engine answers a link with where it leads in the end: more than one look is for what changes meanwhile.
_MOST_LINKS = 2
# A path that an image has made lead nowhere is answered as if the engine had failed. What was asked for may hold any of these
# words, and they stand in other places then.
_NO_WAY = re.compile(
    r": too many links in |: (?:too many levels of symbolic links|not a directory|file name too long)$"
)
# A tar's headers and its end, with attributes of the file as large as a file system keeps them.
_MOST_EXTRA_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class _Stat:
    path: str
    mode: int
    size: int
    target: str


async def look(streams: Streams, container: str, path: str, most_bytes: int) -> InsideFile | None:
    """As `Engine.look_inside`."""
    try:
        found = await _follow(streams, container, path)
        if found is None or found.mode & _TYPE_BITS:
            return None
        data = await _read(streams, container, found) if found.size <= most_bytes else None
    except Refusal as refusal:
        if refusal.status == 404 or _NO_WAY.search(refusal.text):
            return None
        raise failures.refused(refusal) from refusal
    return InsideFile(found.mode & 0o777, data)


async def _follow(streams: Streams, container: str, path: str) -> _Stat | None:
    for _ in range(_MOST_LINKS + 1):
        found = await _stat(streams, container, path)
        if not found.mode & _LINK_BIT:
            return found
        path = found.target
    return None


async def _stat(streams: Streams, container: str, path: str) -> _Stat:
    headers = await _head(streams, f"/containers/{container}/archive", {"path": path})
    told: dict[str, Any] = json.loads(base64.b64decode(headers[STAT]))
    return _Stat(path, told["mode"], told["size"], told["linkTarget"])


async def _head(streams: Streams, place: str, query: Mapping[str, str]) -> Mapping[str, str]:
    try:
        return await streams.head(place, query)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        # Such an answer has no words. The same question in full has them, or is answered by now, and let go unread.
        async with streams.get(place, query):
            raise


async def _read(streams: Streams, container: str, found: _Stat) -> bytes | None:
    """None: it is another one by now."""
    if found.size == 0:
        return b""
    archive = bytearray()
    async with streams.get(f"/containers/{container}/archive", {"path": found.path}) as chunks:
        async for chunk in chunks:
            archive += chunk
            if len(archive) > found.size + _MOST_EXTRA_BYTES:
                return None  # it grew since: a container that runs does as it likes
    return _unpack(bytes(archive))


def _unpack(archive: bytes) -> bytes | None:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            first = tar.next()
            file = None if first is None else tar.extractfile(first)
            return None if file is None else file.read()
    except (tarfile.TarError, KeyError) as error:
        raise EngineUnavailableError(
            f"the engine broke off within a file: {error}", Trouble.BROKEN
        ) from error
