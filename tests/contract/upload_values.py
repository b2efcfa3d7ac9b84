"""upload_values — files to be sent that lie in memory, and where half-sent ones lie. Holds no test."""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from agent.core.job import Job, Kind, Outcome, Reason
from agent.interfaces import Body, Checksum
from agent.spec import JobSpec

JOB = "0190aaaa-0000-7000-8000-000000000001"
PIECE = 1 << 20


@dataclass
class Slice:
    """Implements `interfaces.Body`. `error` is raised in the place of the last piece."""

    data: bytes
    error: Exception | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    async def pieces(self) -> AsyncGenerator[bytes]:
        starts = range(0, len(self.data), PIECE)
        for start in starts[:-1] if self.error is not None else starts:
            yield self.data[start : start + PIECE]
        if self.error is not None:
            raise self.error


@dataclass
class File:
    """Implements `interfaces.Content`. `asked`: the parts that were asked for, each with its first byte and its size."""

    path: str
    data: bytes = b"content"
    error: Exception | None = None
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def part(self, start: int, size_bytes: int) -> Body:
        assert 0 <= start <= start + size_bytes <= len(self.data)
        self.asked.append((start, size_bytes))
        return Slice(self.data[start : start + size_bytes], self.error)

    async def checksum(self, kind: Checksum, start: int, size_bytes: int) -> bytes:
        return hashlib.new(kind.value, self.data[start : start + size_bytes]).digest()


@dataclass
class KeptPlaces:
    """Implements `interfaces.Places`."""

    kept: dict[str, str] = field(default_factory=dict)

    async def find(self, path: str) -> str | None:
        return self.kept.get(path)

    async def keep(self, path: str, place: str) -> None:
        self.kept[path] = place


def ended_job(outcome: Outcome | None = Outcome.SUCCEEDED, reason: Reason | None = None) -> Job:
    spec = JobSpec(image="busybox")
    return Job(JOB, "alice", Kind.CONTAINER, spec, 0.0, attempt=2, outcome=outcome, reason=reason)
