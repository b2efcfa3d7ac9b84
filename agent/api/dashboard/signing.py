"""api/dashboard/signing — signing in to the dashboard with a token, and out of it. What a session may do is the token's own affair (`api/auth`)."""

import structlog
from aiohttp import web

from agent.api.auth import Access, Auth, Caller, caller_with, is_local, refuse_foreign
from agent.api.body import read_json
from agent.api.endpoints import Answer, Endpoint
from agent.api.problems import BadRequestError
from agent.api.sessions import Sessions
from agent.api.views import Json
from agent.core.browser_sessions import end_cookies, write_cookie
from agent.core.event_form import show_time
from agent.spec import Fault

log = structlog.get_logger(__name__)

# A token has less than a hundred.
SIGN_IN_BYTES = 1024


class SessionHandlers:
    def __init__(self, auth: Auth, sessions: Sessions) -> None:
        self._auth = auth
        self._sessions = sessions

    def endpoints(self) -> tuple[Endpoint, ...]:
        opened = {201: Answer("signed in; the cookie is set, and `key` goes beside it", "Session")}
        return (
            Endpoint("POST", "/session", Access.OPEN, self.sign_in, "Sign in to the dashboard: a browser's page exchanges a token for a cookie", opened, body="SignIn"),
            Endpoint("GET", "/session", Access.ANY_TOKEN, self.show, "Who asks, and what he may", {200: Answer("the caller", "Session")}),
            Endpoint("DELETE", "/session", Access.ANY_TOKEN, self.sign_out, "Sign out", {204: Answer("signed out; the cookie is taken away")}),
        )  # fmt: skip

    async def sign_in(self, request: web.Request, _caller: Caller) -> web.Response:
        if is_local(request):
            raise web.HTTPNotFound
        # First, so that another page can neither try tokens here nor sign its visitor in as somebody else.
        refuse_foreign(request)
        token = await self._auth.check_token(request, read_token(await read_json(request, SIGN_IN_BYTES)))
        opened = self._sessions.open(token.id)
        log.info("session.opened", token=token.id, principal=token.principal, peer=request.remote)
        shown = show_caller(caller_with(token), opened.expires_at, opened.key)
        response = web.json_response(shown, status=201)
        response.headers.add("Set-Cookie", write_cookie(opened.secret, request.headers["Origin"]))
        return response

    async def show(self, _request: web.Request, caller: Caller) -> web.Response:
        until = None if caller.session is None else self._sessions.ends_at(caller.session)
        return web.json_response(show_caller(caller, until, None))

    async def sign_out(self, _request: web.Request, caller: Caller) -> web.Response:
        if caller.session is not None:
            self._sessions.end(caller.session)
        response = web.Response(status=204)
        for cookie in end_cookies():
            response.headers.add("Set-Cookie", cookie)
        return response


def show_caller(caller: Caller, expires_at: float | None, key: str | None) -> Json:
    """`expires_at` of the session; null where he comes without one."""
    return {
        "principal": caller.principal,
        "scopes": sorted(caller.scopes),
        "expires_at": show_time(expires_at),
        "key": key,
    }


def read_token(body: object) -> str:
    """Read `{"token": …}`. Raises BadRequestError, whose words never repeat what was sent."""
    if not isinstance(body, dict) or set(body) != {"token"} or not isinstance(body["token"], str):
        fault = Fault("body", "wrong_type", "must have a token, and nothing else", 'Send {"token": "gat_…"}.')
        raise BadRequestError([fault])
    return str(body["token"]).strip()
