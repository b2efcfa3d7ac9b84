"""api/auth — who asks, and whether he may. Looks at no job: what a principal sees is the store's filter."""

import asyncio
import socket
from dataclasses import dataclass, replace
from enum import StrEnum

import structlog
from aiohttp import web

from agent.api.sessions import Sessions
from agent.api.slowdown import Slowdown
from agent.api.tokens import Scope, find_token
from agent.core.browser_sessions import KEY_HEADER, CookieUse, find_foreign, session_cookies
from agent.core.job import Viewer
from agent.errors import AgentError, Blame
from agent.interfaces import Clock, Store, StoreUnavailableError, Token

log = structlog.get_logger(__name__)

LOCAL_PRINCIPAL = "local"
USED_EVERY_SECONDS = 60.0
# Answers that are being held back. Past this, failures are refused at once, so that waiting costs us nothing either.
MAX_HELD_ANSWERS = 128
LOGGED_FAILURES = 5
# Who may act on the host sees what happens to it.
OF_THE_HOST = frozenset({Scope.GPUS_ADMIN, Scope.HOST_ADMIN})


class Access(StrEnum):
    """What an endpoint asks for where no single scope is meant."""

    OPEN = "open"  # no token
    ANY_TOKEN = "any token"  # noqa: S105 (words for people, not a token)


class UnauthorizedError(AgentError):
    code, blame = "unauthorized", Blame.USER
    remedy = "Send `Authorization: Bearer <token>`; `gpu-agent token create` makes one."


class TokenExpiredError(AgentError):
    code, blame = "token_expired", Blame.USER
    remedy = "Ask for a new token; `gpu-agent token create` makes one."


class ScopeMissingError(AgentError):
    code, blame = "scope_missing", Blame.USER
    remedy = "Use a token that has this scope; `gpu-agent token create --scope` makes one."

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"the token has not the scope {scope.value}")


class TooManyFailuresError(AgentError):
    code, blame = "too_many_failures", Blame.USER
    remedy = "Wait a minute, then send a valid token."


class SessionEndedError(AgentError):
    """The cookie of the dashboard is of no session, or of one that has ended."""

    code, blame = "session_ended", Blame.USER
    remedy = "Sign in again: a session ends after 12 h, with its token, and with a restart of the agent."


class CookieRefusedError(AgentError):
    """A browser's cookie came with a request that the dashboard did not send."""

    code, blame = "cookie_refused", Blame.USER
    remedy = "Use the dashboard, or send `Authorization: Bearer <token>`. What stands before the agent must pass Host on as it came."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `token` None: a peer on the Unix socket, or nobody in particular. `session`: the id of the browser's that he came by."""

    principal: str
    scopes: frozenset[Scope]
    token: Token | None = None
    session: str | None = None

    @property
    def viewer(self) -> Viewer:
        return Viewer(
            self.principal,
            sees_all=Scope.JOBS_ALL in self.scopes,
            sees_host=not OF_THE_HOST.isdisjoint(self.scopes),
        )

    @property
    def stream_key(self) -> str:
        return self.principal if self.token is None else self.token.id


NOBODY = Caller("", frozenset())
LOCAL = Caller(LOCAL_PRINCIPAL, frozenset(Scope))


class Auth:
    """Authenticates requests. Tokens are read from the store for each request, so that a revoked one ends at once.

    `sessions` None: cookies count for nothing.
    """

    def __init__(self, store: Store, clock: Clock, sessions: Sessions | None) -> None:
        self._store = store
        self._clock = clock
        self._sessions = sessions
        self._slowdown = Slowdown()
        self._held_answers = 0
        self._used_at: dict[str, float] = {}

    @property
    def failures(self) -> int:
        """Failed attempts since the start of the daemon."""
        return self._slowdown.total

    async def admit(
        self, request: web.Request, access: Access | Scope, use: CookieUse = CookieUse.WITH_KEY
    ) -> Caller:
        """The caller, if he may. Raises UnauthorizedError, TokenExpiredError, ScopeMissingError, TooManyFailuresError,
        SessionEndedError, CookieRefusedError.
        """
        if access is Access.OPEN:
            return NOBODY
        caller = LOCAL if is_local(request) else await self._authenticate(request, use)
        if isinstance(access, Scope) and access not in caller.scopes:
            raise ScopeMissingError(access)
        return caller

    async def is_live(self, caller: Caller) -> bool:
        """Whether a caller who was admitted still would be: for streams, which may outlive their token."""
        if caller.token is None:
            return True
        if caller.session is not None and (
            self._sessions is None or not self._sessions.is_live(caller.session)
        ):
            return False
        tokens = await self._store.tokens()
        return any(token.id == caller.token.id for token in tokens) and not self._is_expired(caller.token)

    async def caller_of(self, stream_key: str) -> Caller | None:
        """Who once was admitted under this `stream_key`, as he would be now. None: his token has ended."""
        if stream_key == LOCAL.stream_key:
            return LOCAL
        found = [token for token in await self._store.tokens() if token.id == stream_key]
        return caller_with(found[0]) if found and not self._is_expired(found[0]) else None

    async def check_token(self, request: web.Request, given: str | None) -> Token:
        """The record of a token that the request gives. Raises UnauthorizedError, TokenExpiredError, TooManyFailuresError."""
        token = None if given is None else find_token(await self._store.tokens(), given)
        if token is None:
            fault = "no bearer token was sent" if given is None else "the token is not known here"
            await self._hold_back(request, fault)
            raise UnauthorizedError(fault)
        if self._is_expired(token):
            await self._hold_back(request, "the token has expired")
            raise TokenExpiredError(f"the token {token.id} has expired")
        await self._note_use(token)
        return token

    async def _authenticate(self, request: web.Request, use: CookieUse) -> Caller:
        # Not any Authorization: what stands before the agent may ask for a password of its own.
        if self._sessions is not None and bearer(request) is None:
            cookies = session_cookies(request.headers.getall("Cookie", []), is_encrypted=request.secure)
            if cookies:
                return await self._authenticate_browser(request, use, self._sessions, cookies)
        return caller_with(await self.check_token(request, bearer(request)))

    async def _authenticate_browser(
        self, request: web.Request, use: CookieUse, sessions: Sessions, cookies: list[str]
    ) -> Caller:
        refuse_foreign(request)
        key = request.headers.get(KEY_HEADER)
        if use is CookieUse.WITH_KEY and key is None:
            raise CookieRefusedError("the key of the session is not beside its cookie")
        session = sessions.find(cookies, key)
        caller = None if session is None else await self.caller_of(session.token_id)
        if session is None or caller is None or caller.token is None:
            await self._hold_back(request, "the session has ended")
            raise SessionEndedError("the session has ended, or is not the one of this key")
        await self._note_use(caller.token)
        return replace(caller, session=session.id)

    def _is_expired(self, token: Token) -> bool:
        return token.expires_at is not None and token.expires_at <= self._clock.now()

    async def _hold_back(self, request: web.Request, fault: str) -> None:
        failures, seconds = self._slowdown.note(request.remote, asyncio.get_running_loop().time())
        # The first few, then ever fewer: a flood of failures is no flood of log lines.
        if failures <= LOGGED_FAILURES or failures & (failures - 1) == 0:
            log.warning("auth.failed", peer=request.remote, fault=fault, failures=failures, path=request.path)
        if seconds == 0:
            return
        if self._held_answers >= MAX_HELD_ANSWERS:
            raise TooManyFailuresError("too many requests without a valid token")
        self._held_answers += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._held_answers -= 1

    async def _note_use(self, token: Token) -> None:
        now = self._clock.now()
        last = max(self._used_at.get(token.id, 0.0), token.last_used_at or 0.0)
        if 0 <= now - last < USED_EVERY_SECONDS:
            return
        self._used_at[token.id] = now
        try:
            await self._store.token_used(token.id, now)
        except StoreUnavailableError as error:
            # A full disk must not lock out those who come to free it.
            log.warning("token.use_not_written", token=token.id, error=str(error))


def caller_with(token: Token) -> Caller:
    known = {scope.value for scope in Scope}
    return Caller(token.principal, frozenset(Scope(name) for name in token.scopes if name in known), token)


def bearer(request: web.Request) -> str | None:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" and given.strip() else None


def refuse_foreign(request: web.Request) -> None:
    """Raises CookieRefusedError where another page than our own sent the request."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    foreign = find_foreign(request.method, headers, is_encrypted=request.secure)
    if foreign is not None:
        raise CookieRefusedError(foreign)


def is_local(request: web.Request) -> bool:
    """Whether the request came over the Unix socket, whose file mode has decided who may connect."""
    sock = None if request.transport is None else request.transport.get_extra_info("socket")
    return sock is not None and sock.family == socket.AF_UNIX
