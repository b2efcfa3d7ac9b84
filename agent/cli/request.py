"""cli/request — one request to the API as a value, so that commands can say what they ask without importing an HTTP library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import quote

QueryValue = str | int | list[str]


class Pace(Enum):
    """How long the answer may keep silent: a minute, or for ever (a stream, or a list whose every file is read first)."""

    PROMPT = "prompt"
    PATIENT = "patient"


class Speaker(Enum):
    """Who answers: the agent, or a chute's author, whose errors are answers as any other."""

    AGENT = "agent"
    AUTHOR = "author"


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that is no JSON. `sent` is told of each piece that has left, by its size."""

    content: bytes = field(repr=False)
    media: str
    sent: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is percent-encoded, `body` JSON-ready or raw (None: no body)."""

    method: str
    path: str
    query: Mapping[str, QueryValue] = field(default_factory=dict)
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pace: Pace = Pace.PROMPT
    speaker: Speaker = Speaker.AGENT


def get(path: str, query: Mapping[str, QueryValue] | None = None) -> Request:
    return Request("GET", path, query or {})


def stream(path: str, query: Mapping[str, QueryValue] | None = None) -> Request:
    return Request("GET", path, query or {}, pace=Pace.PATIENT)


def job_path(job_id: str, below: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{below}"


def chute_path(name: str, below: str = "") -> str:
    return f"/v1/chutes/{quote(name, safe='')}{below}"


def schedule_path(schedule_id: str, below: str = "") -> str:
    return f"/v1/schedules/{quote(schedule_id, safe='')}{below}"
