"""jobs/ssh/server — one container's SSH server: started, listened to, started again when it dies. Says not who may log in."""

import asyncio
from dataclasses import dataclass
from enum import Enum

import structlog

from agent.aio import Flag, beside
from agent.core.container import ContainerState
from agent.core.job import NewEvent
from agent.core.pace import Pace, pass_by
from agent.core.ssh import SshState
from agent.core.ssh_audit import tell
from agent.core.ssh_log import Closed, Ended, Opened, Ready, SshLog, Words
from agent.core.ssh_server import START_SECONDS, pause_before, server_plan
from agent.errors import AgentError
from agent.interfaces import (
    ContainerGoneError,
    ContainerNotRunningError,
    Engine,
    EngineRefusedError,
    EngineUnavailableError,
    ExecSession,
    JobFolderMissingError,
    StateFullError,
    StateReadOnlyError,
    Store,
    StoreUnavailableError,
)
from agent.jobs.ssh.key_files import KeyFiles, Written

log = structlog.get_logger()

# How soon to try again where the engine, the database or the disk does not answer: nobody died of it.
RETRY_SECONDS = 2.0
# The job's root may write to the server's output whatever it likes, and must not keep this process busy with it. A login takes
# some 300 bytes.
MOST_BYTES_A_SECOND = 65_536
# An expiry is by the wall clock, which may be set: it is looked at again this often.
LOOK_SECONDS = 30.0
# What rounding leaves over may be less than a clock can tell.
_LEAST_SECONDS = 0.01
# An engine knows of an end a moment after it has told the last of the output.
LAST_SECONDS = 5.0
_SHOWN_CHARACTERS = 200


class _End(Enum):
    """Why a server is no more."""

    DIED = "died"
    CONTAINER = "its container has ended"


class _Cut(Enum):
    """That its end is nobody's death."""

    BY_US = "its keys could not be written"
    NOT_NOW = "its container does not run, or somebody has paused it"


@dataclass(frozen=True, slots=True)
class Tools:
    engine: Engine
    store: Store
    files: KeyFiles


class Server:
    """One a container. `serve` ends once that has ended; cancelling it ends the server, and leaves open sessions alone."""

    def __init__(self, job_id: str, attempt: int, container: str, tools: Tools) -> None:
        self._job_id = job_id
        self._attempt = attempt
        self._container = container
        self._tools = tools
        self._written = Written((), None)
        self._keys_changed = Flag()
        self._again = Flag()
        self._pace = Pace(_loop_time())
        self._last_words = ""
        self._cut: _Cut | None = None
        self.state = SshState.STARTING

    def note_keys(self, written: Written) -> None:
        """Somebody has written the keys anew. Who waits to come in to a server that is down gets another try."""
        self._written = written
        self._keys_changed.set()
        self._again.set()

    def doubt_keys(self) -> None:
        """They should have been written anew, and were not: who was taken out must not come in by what is in the file."""
        self._keys_changed.set()

    async def serve(self) -> None:
        deaths = 0
        while await self._serve_once() is _End.DIED:
            deaths += 1
            pause = pause_before(deaths)
            if pause is not None:
                await self._turn(SshState.STARTING)
                await asyncio.sleep(pause)
                continue
            await self._turn(SshState.DOWN)
            self._again.clear()
            await self._again.wait()
            deaths = 0

    async def _serve_once(self) -> _End:
        while True:
            try:
                self._written = await self._tools.files.write(self._job_id)
                cut, ended = await self._run(), await self._why_it_ended()
                if cut is None or ended is _End.CONTAINER:
                    return ended
                self.state = SshState.STARTING
                if cut is _Cut.NOT_NOW:
                    await asyncio.sleep(RETRY_SECONDS)
            except ContainerGoneError:
                return _End.CONTAINER
            except EngineRefusedError as error:
                self._last_words = str(error)
                return _End.DIED
            except JobFolderMissingError as error:
                log.warning("ssh.folder_missing", error=str(error))
                return _End.CONTAINER  # nobody can log in any more; the job's task says what becomes of it
            except (
                EngineUnavailableError,
                StateFullError,
                StateReadOnlyError,
                StoreUnavailableError,
            ) as error:
                log.info("ssh.waits", code=error.code, error=str(error))
                self.state = SshState.STARTING  # not told: nobody knows more of it
                await asyncio.sleep(RETRY_SECONDS)

    async def _why_it_ended(self) -> _End:
        seen = await self._tools.engine.inspect(self._container)
        is_running = seen is not None and seen.state is ContainerState.RUNNING
        return _End.DIED if is_running else _End.CONTAINER

    async def _run(self) -> _Cut | None:
        """Until it ends, or does not get as far as listening."""
        self._cut = None
        try:
            async with (
                self._tools.engine.open_exec(self._container, server_plan()) as session,
                beside(self._mind_keys(session), "ssh keys"),
            ):
                await self._watch(session)
        except ContainerNotRunningError:
            return _Cut.NOT_NOW
        return self._cut

    async def _watch(self, session: ExecSession) -> None:
        try:
            async with asyncio.timeout(START_SECONDS) as limit:
                await self._listen(session, limit)
        except TimeoutError:
            self._last_words = f"it did not listen within {START_SECONDS:g} s"

    async def _listen(self, session: ExecSession, limit: asyncio.Timeout) -> None:
        said = SshLog()
        while (piece := await session.read()) is not None:
            for line in said.feed(piece.data):
                match line:
                    case Ready():
                        limit.reschedule(None)  # it may listen for days
                        await self._turn(SshState.READY)
                    case Opened() | Closed():
                        await self._audit(line)
                    case Ended(code):
                        log.info("ssh.server_ended", exit_code=code, words=self._last_words)
                        return
                    case Words(text):
                        self._last_words = text[:_SHOWN_CHARACTERS]
            await asyncio.sleep(len(piece.data) / MOST_BYTES_A_SECOND)
        await self._find_end(session)

    async def _find_end(self, session: ExecSession) -> None:
        """It ended without a word: somebody killed the script, too, or the engine has gone, which is nobody's death."""
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await session.exit_code()
        except TimeoutError:
            log.debug("ssh.exit_code_missed")

    async def _mind_keys(self, session: ExecSession) -> None:
        """Take out keys as their time comes. Where that fails, nobody comes in: the server is ended until it works."""
        try:
            while True:
                await self._keys_changed.wait(_until_look(self._written.seconds))
                self._keys_changed.clear()
                self._written = await self._tools.files.write(self._job_id)
        except AgentError as error:
            log.warning("ssh.keys_not_written", code=error.code, error=str(error))
            self._cut = _Cut.BY_US
            await session.end_input()

    async def _audit(self, line: Opened | Closed) -> None:
        self._pace, missed = pass_by(self._pace, _loop_time())
        if missed is None:
            return
        event = tell(line, self._written.keys, self._attempt, missed)
        log.info(event.type, **event.data)
        await self._tell(event)

    async def _turn(self, state: SshState) -> None:
        if state is self.state:
            return
        self.state = state
        why = None if state is SshState.READY else self._last_words
        log.info("ssh.state", state=state, why=why)
        await self._tell(NewEvent("ssh.state", {"state": state, "attempt": self._attempt, "why": why}))

    async def _tell(self, event: NewEvent) -> None:
        """While it can't be written, nothing more is read of the server."""
        while True:
            try:
                await self._tools.store.append_event(self._job_id, event)
            except StoreUnavailableError as error:
                log.info("ssh.waits", code=error.code, error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _until_look(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, _LEAST_SECONDS), LOOK_SECONDS)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
