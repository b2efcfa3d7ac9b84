"""api/handlers/metrics — what Prometheus scrapes. Reads nothing itself."""

from collections.abc import Iterable

from aiohttp import web

from agent.aio import Threads
from agent.api.auth import Access, Caller
from agent.api.endpoints import ROOT_AND_V1, Answer, Endpoint
from agent.api.metrics.families import Family
from agent.api.metrics.reading import Metrics

# The form of the text that every scraper reads, those of a decade ago too.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsHandlers:
    """`threads` write the text: a thousand lines would hold up the loop."""

    def __init__(self, metrics: Metrics, threads: Threads) -> None:
        self._metrics = metrics
        self._threads = threads

    def endpoints(self) -> tuple[Endpoint, ...]:
        answers = {200: Answer("metrics in the text format of Prometheus")}
        return (
            Endpoint("GET", "/metrics", Access.ANY_TOKEN, self.show, "Metrics for Prometheus", answers, bases=ROOT_AND_V1),
        )  # fmt: skip

    async def show(self, _request: web.Request, caller: Caller) -> web.Response:
        text = await self._threads.run(write, await self._metrics.read(caller))
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})


def write(families: Iterable[Family]) -> bytes:
    # Here, and in a thread: the import takes 15 ms and, with the web servers that the library brings along, 1 to 3 MB, of which an
    # agent that nobody scrapes needs none.
    from agent.api.metrics.text import write_text  # noqa: PLC0415 - as above

    return write_text(families)
