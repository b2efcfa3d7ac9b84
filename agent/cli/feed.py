"""cli/feed — the API's events (SSE) one by one, resumed behind the last one whenever the connection breaks. Shows none."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from agent.cli.patience import Patience
from agent.cli.refusals import AWAY, ApiRefusedError
from agent.cli.request import QueryValue, stream
from agent.cli.session import Call

# Between two events. The agent writes a sign of life each 15 s, so that what is silent for longer is gone.
GONE_SECONDS = 45.0
# After a stream that ended without a fault.
AGAIN_SECONDS = 0.2


# The comment behind the last of the past events.
CAUGHT_UP = b": caught up"


class SseParser:
    """Takes chunks that may end anywhere, gives the `data` of each event, decoded (WHATWG HTML, 9.2.6, as far as ours use it)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[dict[str, Any] | None]:
        """None stands where the past ends."""
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        found = ((block, _data_of(block)) for block in blocks)
        return [json.loads(data) if data else None for block, data in found if data or block == CAUGHT_UP]


def _data_of(block: bytes) -> bytes:
    lines = block.split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


class Feed:
    """Events of one job (None: of all), of these types (none: of any). `after`: the last `seq` that was seen; None: only what is
    still to come.

    `is_caught_up`: all that had happened when the stream began was given.
    """

    def __init__(self, call: Call, job_id: str | None, after: int | None, types: Sequence[str] = ()) -> None:
        self._call = call
        self._job_id = job_id
        self._types = types
        self.after = after
        self.is_caught_up = False

    async def events(self, quiet_seconds: float) -> AsyncGenerator[dict[str, Any] | None]:
        """Each event; None whenever nothing came for so long, and where the past ends. Never ends by itself."""
        patience = Patience(self._call.screen)
        while True:
            try:
                async for event in self._read_once(quiet_seconds, patience):
                    yield event
                await asyncio.sleep(AGAIN_SECONDS)
            except (*AWAY, ApiRefusedError) as error:
                await patience.wait(
                    error, "the agent is away; going on behind the last event when it is back"
                )

    async def _read_once(
        self, quiet_seconds: float, patience: Patience
    ) -> AsyncGenerator[dict[str, Any] | None]:
        parser = SseParser()
        loop = asyncio.get_running_loop()
        async with self._call.api.open(stream("/v1/events", self._query())) as answer:
            heard_at = loop.time()
            while not answer.content.at_eof():
                try:
                    async with asyncio.timeout(quiet_seconds):
                        chunk = await answer.content.readany()
                except TimeoutError:
                    if loop.time() - heard_at > GONE_SECONDS:
                        return
                    yield None
                    continue
                patience.met()
                heard_at = loop.time()
                for event in parser.feed(chunk):
                    if event is None:
                        self.is_caught_up = True
                    else:
                        self.after = int(event["seq"])
                    yield event

    def _query(self) -> dict[str, QueryValue]:
        query: dict[str, QueryValue] = {} if self.after is None else {"after": self.after}
        if self._types:
            query["type"] = ",".join(self._types)
        return query if self._job_id is None else {**query, "job": self._job_id}
