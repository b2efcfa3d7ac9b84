"""api/metrics/scrape — one scrape, from what is known to its text. Imported at the first one, with all that only scrapes need."""

from agent.api.auth import Caller
from agent.api.metrics.reading import read
from agent.api.metrics.sources import Sources
from agent.api.metrics.text import write_text


async def scrape(sources: Sources, caller: Caller) -> bytes:
    return await sources.threads.run(write_text, await read(sources, caller))
