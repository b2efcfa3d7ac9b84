"""api/handlers/health — liveness, readiness and the checks one by one. Looks at nothing itself."""

from aiohttp import web

from agent.api.auth import Access, Caller
from agent.api.endpoints import ROOT_AND_V1, Answer, Endpoint
from agent.api.views import Json
from agent.core.event_form import show_time
from agent.jobs.health import Check, CheckState, Health

WORST_FIRST = (CheckState.FAIL, CheckState.WARN, CheckState.OK)


class HealthHandlers:
    def __init__(self, health: Health) -> None:
        self._health = health

    def endpoints(self) -> tuple[Endpoint, ...]:
        alive, state = {200: Answer("alive", "State")}, Answer("which needed checks fail", "State")
        return (
            Endpoint("GET", "/healthz", Access.OPEN, self.live, "Whether the agent answers at all", alive, bases=ROOT_AND_V1),
            Endpoint("GET", "/readyz", Access.OPEN, self.ready, "Whether it can take jobs", {200: Answer("ready", "State"), 503: state}, bases=ROOT_AND_V1),
            Endpoint("GET", "/health", Access.ANY_TOKEN, self.show, "Every check", {200: Answer("the checks", "Health")}, bases=ROOT_AND_V1),
        )  # fmt: skip

    async def live(self, _request: web.Request, _caller: Caller) -> web.Response:
        return web.json_response({"state": "ok"})

    async def ready(self, _request: web.Request, _caller: Caller) -> web.Response:
        # Names only: whoever asks without a token learns nothing of the host.
        failed = [check.name for check in await self._health.unready()]
        body = {"state": "fail" if failed else "ok", "failed": failed}
        return web.json_response(body, status=503 if failed else 200)

    async def show(self, _request: web.Request, caller: Caller) -> web.Response:
        checks = await self._health.look()
        worst = next(
            (state for state in WORST_FIRST if any(check.state is state for check in checks)), CheckState.OK
        )
        return web.json_response(
            {"state": worst.value, "checks": [show_check(check, caller) for check in checks]}
        )


def show_check(check: Check, caller: Caller) -> Json:
    return {
        "name": check.name,
        "state": check.state.value,
        "since": show_time(check.since),
        "evidence": check.evidence_for(sees_host=caller.viewer.sees_host),
        "remedy": check.remedy or None,
    }
