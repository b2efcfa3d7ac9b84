"""jobs/uploads/sending — one try to send one file, from its opening to what the journal will say. Tries nothing again."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from agent.core.delivery import Failure
from agent.core.job import Job
from agent.core.quiet import Sighting
from agent.core.shortage import is_shortage
from agent.core.upload import FileState, JournalFile, UploadTrouble
from agent.interfaces import Content, Delivery, OutputChangedError, OutputFile, OutputRefusedError
from agent.jobs.uploads.ahead import ReadAhead
from agent.jobs.uploads.contents import Moved, open_output
from agent.jobs.uploads.made import LogText, Made, log_texts
from agent.jobs.uploads.meter import Meter
from agent.jobs.uploads.places import KeptPlaces
from agent.jobs.uploads.tools import UploadTools


@dataclass(frozen=True, slots=True)
class Changed:
    """The job, or somebody else, wrote into the file while it was sent."""


Result = JournalFile | Failure | Changed


@dataclass(frozen=True, slots=True)
class Sending:
    """To one delivery."""

    delivery: Delivery
    places: KeptPlaces
    job: Job
    logs: dict[str, LogText]
    ahead: ReadAhead
    tools: UploadTools
    meter: Meter

    async def send(self, path: str, seen: Sighting | None = None) -> Result:
        """`seen`: only if it is still as it was then. Raises StateFullError, StateReadOnlyError, JobFolderMissingError, Openat2MissingError."""
        try:
            return (
                await self._send_log(self.logs[path])
                if path in self.logs
                else await self._send_output(path, seen)
            )
        except OutputRefusedError:
            return Failure("file_gone", is_passing=False)
        except OutputChangedError:
            self.places.leave(path)
            return Changed()
        except OSError as error:  # what the disk says of this very file, such as EIO; or the host of itself
            return Failure("file_unreadable", is_passing=is_shortage(error), detail=str(error))
        finally:
            self.meter.stop(path)

    async def _send_output(self, path: str, seen: Sighting | None) -> Result:
        folders, moved = self.tools.folders, self._moved(path)
        async with open_output(folders, self.ahead, self.job.id, path, moved) as opened:
            if seen is not None and not _is_as_seen(opened.file, seen):
                return Changed()
            self.places.turn_to(opened.file)
            answer = await self._deliver(opened.content)
            if isinstance(answer, Failure):
                return answer
            sha256 = await opened.settled_sha256()
            self.places.leave(path)
            return Changed() if sha256 is None else self._journal(opened.file, sha256)

    async def _send_log(self, text: LogText) -> Result:
        def make() -> AsyncGenerator[bytes]:
            return log_texts(self.tools.folders, self.job.id, text.attempt)

        answer = await self._deliver(Made(text.path, text.size_bytes, make, self._moved(text.path)))
        if isinstance(answer, Failure):
            return answer
        return self._journal(OutputFile(text.path, text.size_bytes, 0, 0o644), text.sha256)

    async def _deliver(self, content: Content) -> Failure | None:
        answer = await self.delivery.send(content)
        return answer if isinstance(answer, Failure) else None

    def _journal(self, file: OutputFile, sha256: str) -> JournalFile:
        return JournalFile(
            path=file.path,
            state=FileState.SENT,
            size_bytes=file.size_bytes,
            modified_ns=file.modified_ns,
            mode=file.mode,
            attempt=self.job.attempt,
            at=self.tools.clock.now(),
            sha256=sha256,
        )

    def _moved(self, path: str) -> Moved:
        loop = asyncio.get_running_loop()
        return lambda size: self.meter.move(path, size, loop.time())


def _is_as_seen(file: OutputFile, seen: Sighting) -> bool:
    return (file.size_bytes, file.modified_ns) == (seen.size_bytes, seen.modified_ns)


def journal_failure(path: str, job: Job, failure: Failure, at: float) -> JournalFile:
    """One that is given up. Its size does not matter: whoever asks for a retry has it looked at anew."""
    trouble = UploadTrouble(failure.code, at, failure.status, path)
    return JournalFile(path, FileState.FAILED, 0, 0, 0, job.attempt, at, trouble=trouble)
