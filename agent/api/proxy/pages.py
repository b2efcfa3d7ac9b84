"""api/proxy/pages — jobs' web pages under host names of their own, for browsers. The API itself is never reached through one of them.

Whoever may write to the job asks for a one-time URL (`open`). It sets a cookie for that host name alone; each request is checked anew
against the token that asked, and against the job.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from agent.api.auth import Auth, Caller
from agent.api.problems import answer_problems
from agent.api.proxy.exchange import Asked, Exchanges
from agent.api.proxy.targets import Target
from agent.api.proxy.visits import Visits
from agent.api.tokens import Scope
from agent.core.proxy_headers import ByHost
from agent.core.proxy_heads import check_target
from agent.core.proxy_hosts import Elsewhere, PageHost, read_host, write_host
from agent.core.proxy_origins import comes_from_elsewhere
from agent.core.proxy_visits import COOKIE_SECONDS, Page, cookie_name, cookies_named, is_path
from agent.errors import AgentError, Blame

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
# The one path of a job's host name that is ours.
OWN_PATHS = "/.gpu-agent/"
OPEN_PATH = "/.gpu-agent/open"
NEVER_PASSED = frozenset({"CONNECT", "TRACE"})
ALLOWED = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
USUAL_PORTS = {"http": 80, "https": 443}


class NoPageError(AgentError):
    code, blame = "page_not_found", Blame.USER
    remedy = "A job's page is at PORT--JOB below [proxy] domain; `gpu-agent open JOB PORT` prints its URL."


class NotInvitedError(AgentError):
    """No good cookie came with the request."""

    code, blame = "page_not_open", Blame.USER
    remedy = "Ask for a new URL: `gpu-agent open JOB PORT`, or POST /v1/jobs/{id}/open. Each is good once, for 60 s."


class ForeignPageError(AgentError):
    """The page of somebody else sent the request, with the visitor's cookie."""

    code, blame = "cross_origin_refused", Blame.USER
    remedy = "Open the page itself; pages of other hosts may link to it, and send it nothing."


class NoDomainError(AgentError):
    """Browser apps need a host name of their own, and the operator has set no domain for that."""

    code, blame = "proxy_domain_unset", Blame.HOST
    remedy = "Set [proxy] domain to a name whose subdomains lead to this host; without one, GET /v1/jobs/{id}/ports/{name}/ is for scripts."


class PortNameTooLongError(AgentError):
    code, blame = "port_name_too_long", Blame.USER
    remedy = "Give the port a name of 25 characters at most: it is part of a host name."


@dataclass(frozen=True, slots=True)
class PageDomain:
    """The domain below which each page has a name, and how its URLs begin and go on as seen from outside."""

    domain: str
    scheme: str
    port: int

    def authority(self, host: str) -> str:
        return host if USUAL_PORTS[self.scheme] == self.port else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OpenedPage:
    url: str
    expires_at: float


class Pages:
    """`domain` None: there are no host names, and no page can be opened."""

    def __init__(self, domain: PageDomain | None, visits: Visits, auth: Auth, exchanges: Exchanges) -> None:
        self._domain = domain
        self._visits = visits
        self._auth = auth
        self._exchanges = exchanges

    def open(self, target: Target, caller: Caller, path: str) -> OpenedPage:
        """A one-time URL. `path` was checked. Raises NoDomainError, PortNameTooLongError."""
        host = self._host_of(target)
        page = Page(target.job.id, target.job.seq, target.lease.name)
        issued = self._visits.issue(page, caller.stream_key, path)
        domain = self._require_domain()
        url = f"{domain.scheme}://{domain.authority(host)}{OPEN_PATH}?ticket={issued.ticket}"
        return OpenedPage(url, issued.expires_at)

    def before(self, api: Handler) -> Handler:
        """The handler of every request: pages' are answered here, all others by `api`."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if self._is_for_api(request):
                return await api(request)
            answer = await answer_problems(cast(web.Request, request), self._answer)
            if not answer.prepared:
                # No app's signal sees it, and aiohttp would tell its version and Python's.
                answer.headers.setdefault("Server", "gpu-agent")
            return answer

        return handle

    def _is_for_api(self, request: web.BaseRequest) -> bool:
        if self._domain is None:
            return True
        # There is one at most: the parser refuses a second.
        return read_host(request.headers.get("Host", ""), self._domain.domain) is Elsewhere.OUTSIDE

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        domain = self._require_domain()
        found = read_host(request.headers["Host"], domain.domain)
        if not isinstance(found, PageHost):
            raise NoPageError("there is no page at this host name")
        check_target(request.raw_path)
        # CONNECT would open a tunnel without a word of HTTP in it, TRACE show a page the cookies that it must not see.
        if request.method in NEVER_PASSED:
            raise web.HTTPMethodNotAllowed(request.method, ALLOWED)
        if request.raw_path.startswith(OWN_PATHS):
            return await self._enter(request, found)
        return await self._show(request, found, domain)

    async def _enter(self, request: web.Request, host: PageHost) -> web.Response:
        """Exchange a ticket for a cookie."""
        if request.raw_path.partition("?")[0] != OPEN_PATH:
            raise web.HTTPNotFound
        if request.method != "GET":
            raise web.HTTPMethodNotAllowed(request.method, ["GET"])
        ticket = self._visits.redeem(request.query.get("ticket", ""), host)
        if ticket is None:
            raise NotInvitedError("the URL was used already, is too old, or is for another page")
        headers = {
            "Location": ticket.path,
            "Set-Cookie": self._written(await self._visits.cookie(ticket)),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        return web.Response(status=303, headers=headers)

    async def _show(self, request: web.Request, host: PageHost, domain: PageDomain) -> web.StreamResponse:
        named = request.headers["Host"].lower()
        headers = {name.lower(): value for name, value in request.headers.items()}
        if comes_from_elsewhere(request.method, headers, frozenset({f"{domain.scheme}://{named}"})):
            raise ForeignPageError("the request comes from another page")
        cookies = cookies_named(request.headers.getall("Cookie", []), cookie_name(domain.scheme))
        visit = await self._visits.read(cookies, host)
        caller = None if visit is None else await self._auth.caller_of(visit.visitor)
        if visit is None or caller is None or Scope.JOBS_WRITE not in caller.scopes:
            raise NotInvitedError("the page was not opened in this browser, or that was too long ago")
        target = await self._exchanges.targets.find(host.job, host.port, caller.viewer)
        if target.job.seq != visit.seq:
            raise NotInvitedError("the page was opened for an earlier job of this id")
        asked = Asked(target, ByHost(named), request.raw_path, domain.scheme)
        return await self._exchanges.pass_on(request, caller, asked)

    def _written(self, cookie: str) -> str:
        domain = self._require_domain()
        parts = [
            f"{cookie_name(domain.scheme)}={cookie}",
            "Path=/",
            f"Max-Age={COOKIE_SECONDS}",
            "HttpOnly",
            # Lax, not Strict: the URL may be followed out of a chat or a dashboard. `comes_from_elsewhere` does the rest.
            "SameSite=Lax",
        ]
        return "; ".join([*parts, "Secure"] if domain.scheme == "https" else parts)

    def _host_of(self, target: Target) -> str:
        domain = self._require_domain()
        host = write_host(PageHost(target.job.id, target.lease.name), domain.domain)
        if host is None:
            raise PortNameTooLongError(f"the port's name {target.lease.name} does not fit into a host name")
        return host

    def _require_domain(self) -> PageDomain:
        if self._domain is None:
            raise NoDomainError("[proxy] domain is not set, so jobs' pages have no host names")
        return self._domain


def is_page_path(path: str) -> bool:
    """Whether a page may be opened at this path: one of the job's own."""
    return is_path(path) and not path.startswith(OWN_PATHS)
