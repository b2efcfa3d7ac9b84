"""adapters/jobsocket/connection — one connection of a job: its calls in order, each answered. What a call does is not known here.

A report is answered once it is durable, up to seconds later; calls behind it do not wait for that.
"""

import asyncio
import json
from dataclasses import dataclass

import structlog

from agent.adapters.jobsocket.cord_line import TellingReader, UnixCordLine
from agent.adapters.jobsocket.incoming import CutOffError, Incoming, LineTooLongError
from agent.adapters.jobsocket.pace import CordPace, JobPace
from agent.adapters.jobsocket.reader import LineReader
from agent.adapters.jobsocket.reading import NoRequest, Request
from agent.aio import spawn
from agent.core.finish import BadFinishError, read_finish
from agent.interfaces.job_socket import CallFault, CallRefusedError, JobCalls

log = structlog.get_logger()

HELLO, SERVE, REPORT, FINISH = "hello", "serve", "report", "finish"
# Who connects and says nothing keeps a place from others of the same job.
HELLO_SECONDS = 10.0
# For so long who is cut off may go on sending, and read why.
LINGER_SECONDS = 1.0
# So many reports may wait to be durable; the next one is not read before.
REPORTS_AT_ONCE = 64
_WRITE_BUFFER_BYTES = 64 << 10
Id = int | str | None


class _ClosedError(Exception):
    """Nothing more of the connection is read: what came can't be followed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Whom a connection belongs to."""

    job_id: str
    calls: JobCalls
    pace: JobPace
    cord_pace: CordPace
    lines: LineReader


class Connection:
    def __init__(self, reader: TellingReader, writer: asyncio.StreamWriter, heard: Heard) -> None:
        self._incoming = Incoming(reader, heard.pace)
        self._reader = reader
        self._writer = writer
        self._heard = heard
        self._asked_to_serve: Request | None = None
        self._may_report = asyncio.Semaphore(REPORTS_AT_ONCE)
        self._waiting: set[asyncio.Task[None]] = set()
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    async def serve(self) -> None:
        """Until it ends, or what comes can't be followed. Then it is closed."""
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._hear_all(group)
                finally:
                    for task in self._waiting:
                        task.cancel()
        except* (_ClosedError, CutOffError, ConnectionError, TimeoutError) as ends:
            log.debug("job_socket.connection_ended", job=self._heard.job_id, why=repr(ends.exceptions[0]))
        finally:
            self._incoming.let_go()
            self._writer.close()

    async def _hear_all(self, group: asyncio.TaskGroup) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            is_first_good = await self._hear(group, {HELLO, SERVE})
        if self._asked_to_serve is not None:
            await self._serve_calls(self._asked_to_serve)
        while is_first_good and await self._hear(group, None):
            pass

    async def _hear(self, group: asyncio.TaskGroup, wanted: set[str] | None) -> bool:
        """One call; whether there may be another."""
        try:
            line = await self._incoming.line()
        except LineTooLongError:
            return await self._close(None, "the line is longer than 2 MiB")
        if line is None:
            return False
        request = await self._heard.lines.read(line)
        self._incoming.let_go()
        if isinstance(request, NoRequest):
            if not request.is_json:
                return await self._close(request.id, request.message)
            await self._refuse(request.id, CallFault.BAD_CALL, request.message)
        elif wanted is not None and request.call.name not in wanted:
            return await self._close(request.id, "the first call of a connection is hello, or serve")
        elif wanted is not None and request.call.name == SERVE:
            self._asked_to_serve = request
            return False
        else:
            await self._take(group, request)
        return True

    async def _serve_calls(self, request: Request) -> None:
        """It is turned round: from the welcome on it is we who call."""
        welcome = _line_of(request.id, b'"ok":null')
        line = UnixCordLine(self._reader, self._writer, self._heard.cord_pace, welcome)
        try:
            await self._heard.calls.serve(line)
        except CallRefusedError as refused:
            if line.is_welcome:
                # No answer can be given on it any more: its end says that it may be tried again.
                log.debug("job_socket.line_refused", job=self._heard.job_id, why=str(refused))
            else:
                await self._refuse(request.id, refused.fault, str(refused))
        finally:
            line.close()

    async def _close(self, request_id: Id, why: str) -> bool:
        """The last answer. A socket that is closed with something unread takes the answer away from who has not read it yet."""
        await self._refuse(request_id, CallFault.BAD_CALL, why)
        self._writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            await self._incoming.drop_all()
        return False

    async def _take(self, group: asyncio.TaskGroup, request: Request) -> None:
        try:
            if request.call.name == REPORT:
                await self._take_report(group, request)
            elif request.call.name == FINISH:
                await self._take_finish(request)
            else:
                self._heard.pace.spend_question()
                await self._answer(request.id, await self._heard.calls.answer(request.call))
        except CallRefusedError as refused:
            await self._refuse(request.id, refused.fault, str(refused))

    async def _take_report(self, group: asyncio.TaskGroup, request: Request) -> None:
        self._heard.pace.spend_points(sum(map(len, request.call.metrics)))
        await self._may_report.acquire()
        try:
            number = await self._heard.calls.take_report(request.call)
        except BaseException:
            self._may_report.release()
            raise
        task = spawn(group, self._answer_when_kept(number, request.id), "job socket report")
        self._waiting.add(task)
        task.add_done_callback(self._note_answered)

    def _note_answered(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        self._may_report.release()

    async def _answer_when_kept(self, number: int, request_id: Id) -> None:
        await self._heard.calls.report_kept(number)
        await self._answer(request_id, b"null")

    async def _take_finish(self, request: Request) -> None:
        try:
            finish, size = read_finish(request.call.fields)
        except BadFinishError as bad:
            # How many bytes of it follow is not known.
            await self._close(request.id, str(bad))
            raise _ClosedError from bad
        try:
            await self._heard.calls.finish(finish, self._incoming.result(size))
        except CallRefusedError:
            await self._incoming.skip_result()
            raise
        await self._incoming.skip_result()
        await self._answer(request.id, b"null")

    async def _refuse(self, request_id: Id, fault: CallFault, message: str) -> None:
        error = json.dumps({"code": fault.value, "message": message}).encode()
        await self._send(request_id, b'"error":' + error)

    async def _answer(self, request_id: Id, ok: bytes) -> None:
        await self._send(request_id, b'"ok":' + ok)

    async def _send(self, request_id: Id, said: bytes) -> None:
        line = _line_of(request_id, said)
        self._heard.pace.spend_bytes(len(line))
        self._writer.write(line)
        await self._writer.drain()


def _line_of(request_id: Id, said: bytes) -> bytes:
    return b'{"id":' + json.dumps(request_id).encode() + b"," + said + b"}\n"
