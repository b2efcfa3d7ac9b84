"""Job folders in memory. What a hostile job does to a real folder is the real adapter's test."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from agent.core.disk_space import CountLimits, DiskSpace, Held
from agent.core.finish import load_header
from agent.core.globs import EVERY_OUTPUT, OutputChoice
from agent.core.notify import NotifyTarget
from agent.core.quiet import Sighting
from agent.interfaces import (
    ChuteFilesMissingError,
    Claimed,
    JobFolderMissingError,
    LogReader,
    LogWriter,
    OutputChangedError,
    OutputFile,
    OutputLimits,
    OutputListing,
    OutputReader,
    OutputRefusedError,
    Prepared,
    ResultReader,
    SecretFiles,
    SmallOutput,
    StoredReport,
)
from agent.spec import Upload
from tests.fakes.disk import FakeDisk
from tests.fakes.outputs import FakeOutputs


class _Part:
    def __init__(self, logs: dict[tuple[str, int], bytes], key: tuple[str, int]) -> None:
        self._logs, self._key, self._data = logs, key, b""

    async def write(self, data: bytes) -> None:
        self._data += data

    async def commit(self, last: bytes = b"") -> None:
        self._logs.setdefault(self._key, self._data + last)

    async def discard(self) -> None:
        self._data = b""


class _Log:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    async def read(self, size: int) -> bytes:
        chunk = self._data[self._at : self._at + size]
        self._at += len(chunk)
        return chunk

    async def close(self) -> None:
        self._at = len(self._data)


class _Result(_Log):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size_bytes = len(data)


class FakeFolders:
    """`disk`: the state folder's; what jobs write there beside `outputs` is written to it. `in_quota`: whose outputs are in one."""

    def __init__(self, disk: FakeDisk | None = None) -> None:
        self.records: dict[str, str] = {}
        self.payloads: dict[str, bytes] = {}
        self.reports: dict[tuple[str, int], bytes] = {}
        self.chutes_missing: set[str] = set()
        self.authorized_keys: dict[str, str] = {}
        self.key_writes = 0
        self.secrets_by_job: dict[str, SecretFiles] = {}
        self.logs: dict[tuple[str, int], bytes] = {}
        self.places: dict[str, list[tuple[str, str]]] = {}
        self.removed: list[str] = []
        self.disk = disk or FakeDisk()
        self.count_seconds = 0.0  # of one folder
        self.in_quota: set[str] = set()
        self.counts: list[str] = []  # whose outputs were counted, in order
        self._outputs: dict[str, FakeOutputs] = {}

    def outputs(self, job_id: str) -> FakeOutputs:
        """The job's output folder, for a test to write into. Raises JobFolderMissingError."""
        if job_id not in self.records:
            raise JobFolderMissingError(job_id, "folder of outputs")
        return self._outputs[job_id]

    async def claim(
        self, job_id: str, record: str, secrets: SecretFiles, payload: bytes | None = None
    ) -> Claimed:
        if job_id in self.records:
            return Claimed.EXISTS
        if payload is not None:
            self.payloads[job_id] = payload
        self.records[job_id] = record
        self.secrets_by_job[job_id] = secrets
        self._outputs[job_id] = FakeOutputs()
        return Claimed.MADE

    async def secrets(self, job_id: str) -> SecretFiles:
        return self.secrets_by_job.get(job_id, SecretFiles({}))

    def holds_secrets(self, job_id: str) -> bool:
        """Of the job's own; where to notify is the notifier's."""
        return replace(self.secrets_by_job.get(job_id, SecretFiles({})), notify=None) != SecretFiles({})

    async def prepare(self, job_id: str) -> Prepared:
        has_secrets = bool((await self.secrets(job_id)).values)
        has_ssh = (await self.secrets(job_id)).host_key is not None
        return Prepared(
            f"/state/jobs/{job_id}/outputs",
            f"/run/jobs/{job_id}/secrets" if has_secrets else None,
            f"/state/jobs/{job_id}/ssh" if has_ssh else None,
            f"/state/jobs/{job_id}/sock" if job_id in self.payloads else None,
        )

    async def payload(self, job_id: str) -> bytes:
        if job_id not in self.payloads:
            raise JobFolderMissingError(job_id, "payload")
        return self.payloads[job_id]

    async def report_part(self, job_id: str, attempt: int) -> LogWriter:
        if job_id not in self.records:
            raise JobFolderMissingError(job_id, "folder")
        return _Part(self.reports, (job_id, attempt))

    async def report(self, job_id: str, attempt: int, most_bytes: int = 0) -> StoredReport | None:
        line, end, result = self.reports.get((job_id, attempt), b"").partition(b"\n")
        finish = load_header(line) if end else None
        if finish is None:
            return None
        return StoredReport(finish, len(result), result if len(result) <= most_bytes else None)

    async def open_result(self, job_id: str, attempt: int) -> ResultReader | None:
        stored = await self.report(job_id, attempt, 1 << 30)
        if stored is None or stored.result is None or stored.finish.fault is not None:
            return None
        return _Result(stored.result)

    async def chute_files(self, version: str) -> str:
        if version in self.chutes_missing:
            raise ChuteFilesMissingError(version)
        return f"/state/chutes/{version}/files"

    async def keep_authorized_keys(self, job_id: str, text: str) -> None:
        if self.secrets_by_job.get(job_id, SecretFiles({})).host_key is None:
            raise JobFolderMissingError(job_id, "folder of SSH")
        self.authorized_keys[job_id] = text
        self.key_writes += 1

    async def drop_used_secrets(self, job_id: str) -> None:
        self.places.pop(job_id, None)
        self.authorized_keys.pop(job_id, None)
        kept = SecretFiles({}, notify=await self.notify_target(job_id))
        if self.secrets_by_job.pop(job_id, None) is not None and kept.notify is not None:
            self.secrets_by_job[job_id] = kept

    async def notify_target(self, job_id: str) -> NotifyTarget | None:
        return self.secrets_by_job.get(job_id, SecretFiles({})).notify

    async def drop_notify_target(self, job_id: str) -> None:
        if job_id in self.secrets_by_job:
            self.secrets_by_job[job_id] = replace(self.secrets_by_job[job_id], notify=None)

    async def upload_target(self, job_id: str) -> Upload | None:
        return self.secrets_by_job.get(job_id, SecretFiles({})).upload

    async def keep_upload_target(self, job_id: str, upload: Upload) -> None:
        if job_id not in self.records:
            raise JobFolderMissingError(job_id, "folder of secrets")
        kept = self.secrets_by_job.get(job_id, SecretFiles({}))
        self.secrets_by_job[job_id] = replace(kept, upload=upload)

    async def upload_places(self, job_id: str, is_wanted: Callable[[str], bool], most: int) -> dict[str, str]:
        last = {path: place for path, place in reversed(self.places.get(job_id, [])) if is_wanted(path)}
        return {path: self.place_of(job_id, path) for path in [*last][:most]}

    def place_of(self, job_id: str, path: str) -> str:
        """The last that was kept."""
        return next(place for kept, place in reversed(self.places[job_id]) if kept == path)

    async def keep_upload_place(self, job_id: str, path: str, place: str) -> None:
        if job_id not in self.records:
            raise JobFolderMissingError(job_id, "folder of secrets")
        self.places.setdefault(job_id, []).append((path, place))

    async def drop_upload_secrets(self, job_id: str) -> None:
        self.places.pop(job_id, None)
        if job_id in self.secrets_by_job:
            self.secrets_by_job[job_id] = replace(self.secrets_by_job[job_id], upload=None)

    async def remove(self, job_id: str) -> None:
        self.places.pop(job_id, None)
        self.authorized_keys.pop(job_id, None)
        self.records.pop(job_id, None)
        self.payloads.pop(job_id, None)
        self.secrets_by_job.pop(job_id, None)
        self.removed.append(job_id)

    async def sweep(self, known: set[str]) -> list[str]:
        strays = sorted(set(self.records) - known)
        for job_id in strays:
            await self.remove(job_id)
        return strays

    async def log_part(self, job_id: str, attempt: int) -> LogWriter:
        return _Part(self.logs, (job_id, attempt))

    async def open_log(self, job_id: str, attempt: int) -> LogReader | None:
        data = self.logs.get((job_id, attempt))
        return None if data is None else _Log(data)

    async def list_outputs(
        self, job_id: str, limits: OutputLimits, choice: OutputChoice = EVERY_OUTPUT
    ) -> OutputListing:
        return self.outputs(job_id).list(limits, choice)

    async def open_output(self, job_id: str, path: str) -> OutputReader:
        return self.outputs(job_id).open(path)

    async def read_small(self, job_id: str, path: str, most_bytes: int) -> SmallOutput | OutputFile:
        return await self.outputs(job_id).open(path).read_all(most_bytes)

    async def read_ahead(self, job_id: str, paths: Sequence[str], most_bytes: int) -> dict[str, SmallOutput]:
        found, files = {}, self.outputs(job_id)
        for path in paths:
            with suppress(OutputRefusedError, OutputChangedError, OSError):
                small = await files.open(path).read_all(most_bytes)
                if isinstance(small, SmallOutput):
                    found[path] = small
        return found

    async def watch_outputs(
        self, job_id: str, limits: OutputLimits, choice: OutputChoice
    ) -> AsyncGenerator[Sighting, None]:
        async with aclosing(self.outputs(job_id).watch(choice)) as sightings:
            async for sighting in sightings:
                yield sighting

    async def free_bytes(self) -> int:
        return (await self.space()).free_bytes

    async def space(self) -> DiskSpace:
        return self.disk.space()

    async def held(self, job_id: str, limits: CountLimits) -> Held:
        self.counts.append(job_id)
        await asyncio.sleep(self.count_seconds)
        if job_id in self.in_quota:
            return Held()
        files = self.outputs(job_id).held(limits)
        return files + self.disk.held(job_id, limits)
