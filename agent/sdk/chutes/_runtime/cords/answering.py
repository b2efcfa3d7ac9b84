"""chutes/_runtime/cords/answering — one call, from what the host asked to its last byte. Takes no second one."""

from __future__ import annotations

from typing import Any

from chutes._runtime.cords import heads
from chutes._runtime.cords.answers import Refusal, Whole
from chutes._runtime.cords.calls import CALL, Call
from chutes._runtime.cords.heads import Asked
from chutes._runtime.cords.line import Line, LineLostError
from chutes._runtime.cords.performing import Streamed, perform
from chutes._runtime.cords.threads import Threads
from chutes._runtime.failures import MAX_TRACEBACK_CHARACTERS, awaiting, stack_of, traceback_of
from chutes._runtime.lines import log_line, write_text
from chutes._runtime.texts import shorten
from chutes.chute import Chute


class Answering:
    """`run` is to be a task of its own: what the author's code sets in its context is nobody else's."""

    def __init__(self, chute: Chute, threads: Threads, line: Line, asked: Asked) -> None:
        self._chute = chute
        self._threads = threads
        self._line = line
        self._call = Call(asked.call)
        self._performing: Any = None
        self.asked = asked

    async def run(self) -> None:
        CALL.set(self._call)
        try:
            await self._run()
        except LineLostError:
            return  # the host has given the call up
        finally:
            self._call.is_over = True

    def whereabouts(self) -> str:
        """Where it is, as a traceback; nothing where it computes in the loop's thread. For any thread."""
        thread = self._call.thread
        return (awaiting(self._performing) if thread is None else stack_of(thread)) or ""

    async def _run(self) -> None:
        cords, asked = self._chute.cords, self.asked
        cord = cords[asked.position] if 0 <= asked.position < len(cords) else None
        if cord is None or cord.function.__name__ != asked.function:
            told = f"the file has no cord {asked.function!r:.200} at {asked.position}: it says something else at each import"
            await self._line.send(heads.refusal(Refusal("unknown_cord", "LookupError", told)))
            return
        self._performing = perform(self._chute, cord, asked.request, self._threads)
        answer = await self._performing
        if isinstance(answer, Whole):
            await self._line.send(heads.whole(answer), answer.body)
        elif isinstance(answer, Streamed):
            await self._stream(answer)
        else:
            self._log(answer.error if answer.kind == "raised" else None)
            await self._line.send(heads.refusal(answer))

    async def _stream(self, answer: Streamed) -> None:
        try:
            await self._send(answer)
        except LineLostError:
            raise
        except BaseException as error:  # noqa: BLE001 — the author's code, and the status has left: only the end can be missing
            self._log(error)
            self._line.close()
        finally:
            await answer.rest.close()

    async def _send(self, answer: Streamed) -> None:
        await self._line.send(heads.stream(answer.content_type))
        piece, pieces = answer.first, answer.rest
        while piece is not None:
            for frame in heads.frames(piece):
                await self._line.send(frame)
            piece = await pieces.next()
        await self._line.send(heads.LAST_FRAME)

    def _log(self, error: BaseException | None) -> None:
        if error is None or self._line.is_lost:
            return  # whoever gave the call up is told of nothing more
        fields = {"cord": self.asked.function, "call": self.asked.call}
        write_text(log_line("error", "the cord raised", fields) + "\n")
        write_text(shorten(traceback_of(error), MAX_TRACEBACK_CHARACTERS))
