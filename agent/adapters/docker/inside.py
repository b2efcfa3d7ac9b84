"""adapters/docker/inside — one file of a container, read through the engine. Runs nothing in it; says nothing of what the file means."""

import base64
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from agent.adapters.docker import failures
from agent.adapters.docker.failures import Refusal
from agent.adapters.docker.streams import Streams
from agent.core.container import InsideFile

STAT = "X-Docker-Container-Path-Stat"
# Go's os.FileMode, which the engine tells: its upper bits say what is no regular file (go doc io/fs.ModeType).
_TYPE_BITS = 0x8F280000
_LINK_BIT = 0x08000000
# The engine answers a link with where it leads in the end: more than one look is for what changes meanwhile.
_MOST_LINKS = 2


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
        if refusal.status == 404:
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
    headers = await streams.head(f"/containers/{container}/archive", {"path": path})
    told: dict[str, Any] = json.loads(base64.b64decode(headers[STAT]))
    return _Stat(path, told["mode"], told["size"], told["linkTarget"])


async def _read(streams: Streams, container: str, found: _Stat) -> bytes | None:
    if found.size == 0:
        return b""
    archive = await streams.read(f"/containers/{container}/archive", {"path": found.path})
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(next(iter(tar)))
        return None if file is None else file.read()
