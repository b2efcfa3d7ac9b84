"""adapters/folders/folders — the job folders as the shell sees them: one method a step, all blocking work in threads."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from agent.adapters.disk_use import space
from agent.adapters.folders import calls, durable, jobs, outputs, sdk, secrets, ssh, state, upload_secrets
from agent.adapters.folders.chutes import DiskChutes
from agent.adapters.folders.disk import Disk
from agent.adapters.folders.held import held_by_outputs
from agent.adapters.folders.jobs import FoundRecord
from agent.adapters.folders.names import attempt_log, job_folder, part_of
from agent.adapters.folders.page_key import PageKey
from agent.adapters.folders.quotas import DiskQuotas
from agent.adapters.folders.schedules import DiskSchedules
from agent.adapters.folders.streams import (
    Hashes,
    LogReader,
    LogWriter,
    OutputReader,
    ResultReader,
    read_small,
)
from agent.adapters.folders.watch import OutputWatching
from agent.aio import Threads
from agent.core.disk_space import CountLimits, DiskSpace, Held
from agent.core.globs import EVERY_OUTPUT, OutputChoice
from agent.core.notify import NotifyTarget
from agent.core.quiet import Sighting
from agent.interfaces import (
    Claimed,
    JobFolderMissingError,
    OutputChangedError,
    OutputFile,
    OutputLimits,
    OutputListing,
    OutputRefusedError,
    Prepared,
    SecretFiles,
    SmallOutput,
    StoredReport,
)
from agent.spec import Upload

# Ten thousand files of a deploy take the disk a quarter of a minute, and the other threads are every job's. Who hangs up ends no thread:
# so these are threads of their own, and no count of who waits.
CHUTE_THREADS = 2


class DiskFolders:
    """Implements `interfaces.Folders`; what only the daemon and `doctor` need is beside it. Open it with `open_folders`."""

    def __init__(self, opened: state.State, disk: Disk) -> None:
        self._state = opened
        self._disk = disk
        self._hashes = Hashes()
        self._watching = OutputWatching(disk)
        self.quotas = DiskQuotas(opened, disk)
        self.page_key = PageKey(opened.root, disk)
        self.schedules = DiskSchedules(opened.schedules, disk)
        self._chute_threads = Threads("chutes", CHUTE_THREADS)
        self.chutes = DiskChutes(opened.root, opened.chutes, disk, Disk(self._chute_threads, opened.path))

    @property
    def agent_id(self) -> str:
        """The id that labels this agent's containers, kept in `<state>/agent-id`."""
        return self._state.agent_id

    def close(self) -> None:
        """Let go of the state folder and its lock. Readers and writers must have ended, and so must the threads."""
        self._chute_threads.close()
        self._state.close()

    async def claim(
        self, job_id: str, record: str, secrets: SecretFiles, payload: bytes | None = None
    ) -> Claimed:
        """Make the folder, whole or not at all; where one is, nothing in it is touched and the row decides."""
        return await self._disk.run(jobs.claim, self._state, job_id, record, secrets, payload)

    async def payload(self, job_id: str) -> bytes:
        """What the job's function is called with. Raises JobFolderMissingError."""
        return await self._disk.run(calls.read_payload, self._state.jobs, job_id)

    def socket_folder(self, job_id: str) -> Path:
        """Where the job's socket lies, as its container sees it."""
        return self._state.path / state.JOBS / job_folder(job_id) / calls.SOCKET

    async def lay_out_sdk(self, source: Path) -> str:
        """The host's path of a copy of `source` that no upgrade changes, for containers to see."""
        return await self._disk.run(sdk.lay_out, self._state.runtime_path, source)

    async def sweep_sdks(self, kept: str) -> list[str]:
        """Remove copies of earlier agents, which no container may see any more: all but `kept`. Their names."""
        return await self._disk.run(sdk.sweep, self._state.runtime_path, kept)

    async def report_part(self, job_id: str, attempt: int) -> LogWriter:
        """A new, empty `report.<attempt>.part`. Raises JobFolderMissingError."""
        return await self._disk.run(self._create_part, job_id, calls.report_name(attempt))

    async def report(self, job_id: str, attempt: int, most_bytes: int = 0) -> StoredReport | None:
        """How the function ended, with its result where it is not larger."""
        return await self._disk.run(calls.read_report, self._state.jobs, job_id, attempt, most_bytes)

    async def open_result(self, job_id: str, attempt: int) -> ResultReader | None:
        """The result from its first byte; None: there is none."""
        return await self._disk.run(self._open_result, job_id, attempt)

    async def chute_files(self, version: str) -> str:
        """The host's path of a version's files. Raises ChuteFilesMissingError."""
        return await self._disk.run(calls.chute_files, self._state, version)

    async def secrets(self, job_id: str) -> SecretFiles:
        """The secrets at rest. Raises JobFolderMissingError, also once they were dropped."""
        return await self._disk.run(jobs.read_secrets, self._state, job_id)

    async def prepare(self, job_id: str) -> Prepared:
        """Lay out what the container may see. Idempotent. Raises JobFolderMissingError."""
        return await self._disk.run(jobs.prepare, self._state, job_id)

    async def keep_authorized_keys(self, job_id: str, text: str) -> None:
        """Who may log in by SSH, in the place of what was there. Raises JobFolderMissingError."""
        await self._disk.run(ssh.keep_authorized_keys, self._state.jobs, job_id, text)

    async def authorized_keys(self, job_id: str) -> str | None:
        """What was kept last, for a repair of the database. None: nothing ever was."""
        return await self._disk.run(ssh.read_authorized_keys, self._state.jobs, job_id)

    async def drop_secrets(self, job_id: str) -> None:
        """Remove both copies of all secrets, for good: for a repair alone. Gone is fine."""
        await self._disk.run(secrets.drop, self._state.jobs, self._state.runtime_jobs, job_id)

    async def drop_used_secrets(self, job_id: str) -> None:
        """Remove both copies of what the job and its upload needed, and the host key, for good; where to notify stays. Gone is fine."""
        await self._disk.run(secrets.drop_used, self._state.jobs, self._state.runtime_jobs, job_id)

    async def notify_target(self, job_id: str) -> NotifyTarget | None:
        """Where to notify, also after `drop_used_secrets`. None: nowhere, or it was dropped."""
        return await self._disk.run(secrets.read_target, self._state.jobs, job_id)

    async def drop_notify_target(self, job_id: str) -> None:
        """Remove where to notify, for good; what the job itself needs stays. Gone is fine."""
        await self._disk.run(secrets.drop_target, self._state.jobs, job_id)

    async def upload_target(self, job_id: str) -> Upload | None:
        """Where outputs are sent, with its secrets. None: there is none with secrets, or it was dropped."""
        return await self._disk.run(upload_secrets.find_target, self._state.jobs, job_id)

    async def keep_upload_target(self, job_id: str, upload: Upload) -> None:
        """Where outputs are sent from now on. Raises JobFolderMissingError."""
        await self._disk.run(upload_secrets.keep_target, self._state.jobs, job_id, upload)

    async def upload_places(self, job_id: str, is_wanted: Callable[[str], bool], most: int) -> dict[str, str]:
        """Where half-sent uploads lie, by the paths that are wanted: those that were kept last."""
        return await self._disk.run(upload_secrets.read_places, self._state.jobs, job_id, is_wanted, most)

    async def keep_upload_place(self, job_id: str, path: str, place: str) -> None:
        """Synced when it returns. Raises JobFolderMissingError."""
        await self._disk.run(upload_secrets.keep_place, self._state.jobs, job_id, path, place)

    async def drop_upload_secrets(self, job_id: str) -> None:
        """Remove where outputs are sent, and where half-sent ones lie, for good. Gone is fine."""
        await self._disk.run(upload_secrets.drop, self._state.jobs, job_id)

    async def remove(self, job_id: str) -> None:
        """Remove both folders of the job. Gone is fine. Raises FolderNotRemovedError."""
        await self._disk.run(jobs.remove, self._state, job_id)

    async def sweep(self, known: set[str]) -> list[str]:
        """Remove what no row knows and what a crash left. `known` must be whole: what is not in it is lost."""
        return await self._disk.run(jobs.sweep, self._state, known)

    async def ids(self) -> set[str]:
        """The jobs that have a folder."""
        return await self._disk.run(jobs.job_ids, self._state)

    async def records(self) -> AsyncIterator[FoundRecord]:
        """Each folder's `spec.json`, for a repair of the database."""
        for job_id in sorted(await self.ids()):
            yield await self._disk.run(jobs.read_record, self._state, job_id)

    async def set_aside(self, job_id: str) -> str | None:
        """Move the folder to `<state>/aside`; its path there. None: there is none."""
        return await self._disk.run(jobs.set_aside, self._state, job_id)

    async def log_part(self, job_id: str, attempt: int) -> LogWriter:
        """A new, empty `log.<attempt>.part`, whatever an earlier drain left. Raises JobFolderMissingError."""
        return await self._disk.run(self._create_part, job_id, attempt_log(attempt))

    async def open_log(self, job_id: str, attempt: int) -> LogReader | None:
        """The committed log, None if there is none."""
        return await self._disk.run(self._open_log, job_id, attempt)

    async def list_outputs(
        self, job_id: str, limits: OutputLimits, choice: OutputChoice = EVERY_OUTPUT
    ) -> OutputListing:
        """What of the chosen outputs can be fetched, and what not and why. Raises JobFolderMissingError, Openat2MissingError."""
        return await self._disk.run(outputs.list_outputs, self._state, job_id, limits, choice)

    async def open_output(self, job_id: str, path: str) -> OutputReader:
        """One file of the listing. Raises OutputRefusedError, JobFolderMissingError, Openat2MissingError."""
        return await self._disk.run(self._open_output, job_id, path)

    async def read_small(self, job_id: str, path: str, most_bytes: int) -> SmallOutput | OutputFile:
        """One file of the listing as a whole, or just its facts where it is larger. Raises as `open_output`, and OutputChangedError."""
        return await self._disk.run(self._read_small, job_id, path, most_bytes)

    async def read_ahead(self, job_id: str, paths: Sequence[str], most_bytes: int) -> dict[str, SmallOutput]:
        """Those of the files that can be read, and are small. Raises JobFolderMissingError, Openat2MissingError."""
        return await self._disk.run(self._read_ahead, job_id, paths, most_bytes)

    def watch_outputs(
        self, job_id: str, limits: OutputLimits, choice: OutputChoice
    ) -> AsyncGenerator[Sighting, None]:
        """As interfaces.OutputWatch promises it."""
        return self._watching.watch(self._state, job_id, limits, choice)

    async def free_bytes(self) -> int:
        """What an unprivileged writer may still fill of the state folder's disk."""
        return (await self.space()).free_bytes

    async def space(self) -> DiskSpace:
        """Of the state folder's disk."""
        return await self._disk.run(space, self._state.root)

    async def held(self, job_id: str, limits: CountLimits) -> Held:
        """What the job's outputs hold of it, in allocated bytes; none where they are in a quota. Raises JobFolderMissingError."""
        return await self._disk.run(held_by_outputs, self._state.jobs, job_id, limits)

    # A descriptor is wrapped in the thread that opened it. A cancelled await would lose a bare number for ever; an object
    # that nobody gets is closed when it is collected.

    def _create_part(self, job_id: str, name: str) -> LogWriter:
        try:
            folder = os.open(job_folder(job_id), durable.FOLDER, dir_fd=self._state.jobs)
        except FileNotFoundError as error:
            raise JobFolderMissingError(job_id, "folder") from error
        try:
            durable.unlink_if_there(folder, part_of(name))
            number = os.open(part_of(name), durable.CREATE, durable.PRIVATE_FILE, dir_fd=folder)
        except OSError:
            os.close(folder)
            raise
        return LogWriter(self._disk, folder, number, name)

    def _open_log(self, job_id: str, attempt: int) -> LogReader | None:
        try:
            with durable.open_folder(self._state.jobs, job_folder(job_id)) as job:
                number = os.open(attempt_log(attempt), durable.READ, dir_fd=job)
        except FileNotFoundError:
            return None
        return LogReader(self._disk, number)

    def _open_result(self, job_id: str, attempt: int) -> ResultReader | None:
        found = calls.find_result(self._state.jobs, job_id, attempt)
        return None if found is None else ResultReader(self._disk, *found)

    def _open_output(self, job_id: str, path: str) -> OutputReader:
        return OutputReader(self._disk, outputs.open_output(self._state, job_id, path), self._hashes)

    def _read_small(self, job_id: str, path: str, most_bytes: int) -> SmallOutput | OutputFile:
        return read_small(outputs.open_output(self._state, job_id, path), most_bytes)

    def _read_ahead(self, job_id: str, paths: Sequence[str], most_bytes: int) -> dict[str, SmallOutput]:
        found = {}
        with outputs.open_outputs(self._state, job_id) as root:
            for path in paths:
                with suppress(
                    OutputRefusedError, OutputChangedError, OSError
                ):  # asked for by itself, it is said why
                    small = read_small(outputs.open_in(root, path), most_bytes)
                    if isinstance(small, SmallOutput):
                        found[path] = small
        return found


async def open_folders(state_dir: Path, runtime_dir: Path, threads: Threads) -> DiskFolders:
    """Open the state folder, alone, making what is missing.

    `runtime_dir` should be on a tmpfs: containers read their secrets from it. Raises StateInUseError, StateUnsafeError,
    AgentIdUnreadableError, StateFullError, StateReadOnlyError.
    """
    disk = Disk(threads, state_dir)
    return DiskFolders(await disk.run(state.open_state, state_dir, runtime_dir), disk)
