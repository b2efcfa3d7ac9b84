"""cli/follow — a job's log written out as it comes, resumed behind the last line whenever the connection breaks. Knows no option."""

import asyncio
from collections.abc import Mapping
from typing import BinaryIO

from agent.cli.logtext import LogText, Mark, Stamps
from agent.cli.patience import Patience
from agent.cli.refusals import AWAY, ApiRefusedError
from agent.cli.request import QueryValue, get, job_path, stream
from agent.cli.screen import Form, Screen
from agent.cli.session import Call

ENDED = frozenset({"uploading", "finished"})
LOOK_AGAIN_SECONDS = 0.2


class Pen:
    """Writes a log: the job's stdout and stderr apart, or for scripts the records as they came.

    While `gate` is closed nothing is written, so that a question on the terminal stays readable; the agent waits meanwhile.
    """

    def __init__(self, screen: Screen, stamps: Stamps = Stamps.HIDDEN) -> None:
        self.text = LogText(stamps)
        self.gate = asyncio.Event()
        self.gate.set()
        self._screen = screen
        self._out = screen.raw_out
        self._err = screen.raw_err

    def start_anew(self) -> None:
        """What follows is another log, of which nothing was read."""
        self.text.forget()

    def keep_off_stdout(self) -> None:
        """Write all to stderr, since stdout is for another answer."""
        self._out = self._err

    async def write(self, chunk: bytes) -> None:
        await self.gate.wait()
        if whole := self.text.take(chunk):
            self._write_whole(whole)

    def _write_whole(self, whole: bytes) -> None:
        if self._screen.form is Form.JSON and self._out is not self._err:
            put(self._out, whole)
            return
        for piece in self.text.pieces(whole):
            if isinstance(piece, Mark):
                self._screen.note(f"— {piece.text} —")
            else:
                put(self._out if piece.stream == b"stdout" else self._err, piece.data)


def put(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()


async def follow_log(call: Call, job_id: str, query: Mapping[str, QueryValue], pen: Pen) -> None:
    """Write what the query asks for. Following, it ends with the job, or with the attempt that the query names."""
    patience = Patience(call.screen)
    while True:
        try:
            await _read_once(call, job_id, resumed(query, pen.text.cursor), pen, patience)
            if "follow" not in query or await _is_over(call, job_id, query):
                return
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        except (*AWAY, ApiRefusedError) as error:
            await patience.wait(error, "the agent is away; going on behind the last line when it is back")


def resumed(query: Mapping[str, QueryValue], cursor: str | None) -> dict[str, QueryValue]:
    """The query that goes on where a reading stopped. What says where to begin has had its effect then."""
    asked = {"format": "ndjson", **query}
    if cursor is None:
        return asked
    return {name: value for name, value in asked.items() if name not in {"tail", "since"}} | {
        "cursor": cursor
    }


async def _read_once(
    call: Call, job_id: str, query: Mapping[str, QueryValue], pen: Pen, patience: Patience
) -> None:
    pen.text.restart()
    async with call.api.open(stream(job_path(job_id, "/logs"), query)) as answer:
        patience.met()
        async for chunk in answer.content.iter_any():
            await pen.write(chunk)


async def _is_over(call: Call, job_id: str, query: Mapping[str, QueryValue]) -> bool:
    job = await call.api.ask(get(job_path(job_id)))
    attempt = query.get("attempt")
    return job["phase"] in ENDED or (isinstance(attempt, int) and job["attempt"] > attempt)
