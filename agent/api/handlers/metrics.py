"""api/handlers/metrics — what Prometheus scrapes. Reads nothing itself."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from agent.api.auth import Access, Caller
from agent.api.endpoints import ROOT_AND_V1, Answer, Endpoint
from agent.api.metrics.sources import Sources

# The form of the text that every scraper reads, those of a decade ago too.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Scrape = Callable[[Sources, Caller], Awaitable[bytes]]


class MetricsHandlers:
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def endpoints(self) -> tuple[Endpoint, ...]:
        answers = {200: Answer("metrics in the text format of Prometheus")}
        return (
            Endpoint("GET", "/metrics", Access.ANY_TOKEN, self.show, "Metrics for Prometheus", answers, bases=ROOT_AND_V1),
        )  # fmt: skip

    async def show(self, _request: web.Request, caller: Caller) -> web.Response:
        scrape = await self._sources.threads.run(load)
        return web.Response(body=await scrape(self._sources, caller), headers={"Content-Type": CONTENT_TYPE})


def load() -> Scrape:
    # Here, and in a thread: the import takes 20 ms and, with the web servers that prometheus_client brings along, 1 to 3 MB. An agent
    # that nobody scrapes needs none of it.
    from agent.api.metrics.scrape import scrape  # noqa: PLC0415 - as above

    return scrape
