"""api/endpoints — what an endpoint is: the one value from which both the routes and openapi.json are made."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from agent.api.auth import Access, Caller
from agent.api.tokens import Scope
from agent.core.browser_sessions import CookieUse

Handle = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]

V1 = ("/v1",)
# Where load balancers and people look first.
ROOT_AND_V1 = ("", "/v1")


@dataclass(frozen=True, slots=True)
class Parameter:
    """`place` is query, header or path; `schema` is JSON schema."""

    name: str
    about: str
    place: str = "query"
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True)
class Answer:
    """`schema` names one of openapi's components; None: nothing to describe. `media` is the content type."""

    about: str
    schema: str | None = None
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` in aiohttp's form, below each of `bases`. `body` names a component schema. Errors are problems, all of them.

    `expect` answers `Expect: 100-continue`; None: the body is asked for at once. `cookie`: how a browser's session may ask.
    """

    method: str
    path: str
    access: Access | Scope
    handle: Handle
    about: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    body_media: str = "application/json"
    bases: tuple[str, ...] = V1
    expect: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
    cookie: CookieUse = CookieUse.WITH_KEY


JOB_ID = Parameter("id", "the job's id, a UUID", "path", {"type": "string", "format": "uuid"})
