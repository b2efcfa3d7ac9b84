"""adapters/folders/watch — notices output files that were closed or renamed in, by inotify, and by scans where that has an end.

The folder is hostile. A watch is put on a descriptor that openat2 gave, never on a path; what an event names is looked at through
openat2 before it is told. A folder is watched before it is read, so what comes meanwhile is seen twice rather than never.
The kernel's queue is the only one: it is bounded, it is the job's own, and where it overflows a scan makes up for it.
"""

import asyncio
import errno
import os
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

import structlog

from agent.adapters.folders import inotify
from agent.adapters.folders.disk import Disk
from agent.adapters.folders.names import to_text
from agent.adapters.folders.openat2 import open_beneath
from agent.adapters.folders.outputs import Walk, can_hold_files, look_at, open_outputs
from agent.adapters.folders.state import State
from agent.adapters.folders.streams import Descriptor
from agent.aio import Flag
from agent.core.globs import OutputChoice
from agent.core.quiet import Noticed, Sighting
from agent.interfaces import OutputFile, OutputLimits

log = structlog.get_logger(__name__)

# Of one job; the kernel's own limit (max_user_watches) is for all of the host's root.
MOST_WATCHES = 8_192
SCAN_SECONDS = 30.0
# Between two looks: events come together meanwhile, and a job that makes them by the million gets half a thread at most.
PAUSE_SECONDS = 0.05
# Of the folders' eight threads: jobs that are watched must not hold up the steps of jobs.
LOOKS_AT_ONCE = 3
# No watch or no instance is left, the kernel has none or grants none: reasons to scan.
NO_WATCH = frozenset(
    {errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSYS, errno.EACCES, errno.EPERM}
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What of a job is watched, and by how many watches at most."""

    job_id: str
    limits: OutputLimits
    choice: OutputChoice
    most_watches: int


class OutputWatching:
    """Watches of jobs that share the threads and their turns."""

    def __init__(
        self,
        disk: Disk,
        most_watches: int = MOST_WATCHES,
        scan_seconds: float = SCAN_SECONDS,
    ) -> None:
        self._disk = disk
        self._most_watches = most_watches
        self._scan_seconds = scan_seconds
        self._turns = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def watch(
        self, state: State, job_id: str, limits: OutputLimits, choice: OutputChoice
    ) -> AsyncGenerator[Sighting, None]:
        """As interfaces.OutputWatch promises it."""
        watched = Watched(job_id, limits, choice, self._most_watches)
        eye = await self._disk.run(open_eye, state, watched)
        has_news = Flag()
        scanned_at = time.monotonic()
        try:
            while True:
                has_news.clear()
                if eye.is_blind and time.monotonic() >= scanned_at + self._scan_seconds:
                    eye.scan_next()
                    scanned_at = time.monotonic()
                async with self._turns:
                    began = time.monotonic()
                    sightings = await self._disk.run(eye.look)
                    took = time.monotonic() - began
                for sighting in sightings:
                    yield sighting
                await asyncio.sleep(max(PAUSE_SECONDS, took))
                eye.wake_on_news(has_news)
                await has_news.wait(self._scan_seconds if eye.is_blind else None)
        finally:
            eye.close()


class Eye:
    """One job's folder under watch. Its looks are for threads, one at a time; the rest is for the loop."""

    def __init__(self, root: Descriptor, events: Descriptor | None, watched: Watched) -> None:
        self._root, self._events = root, events
        self._watched, self._choice = watched, watched.choice
        self._paths: dict[int, bytes] = {}
        self._known: dict[str, tuple[int, int]] = {}
        self._must_scan = True
        self._wakes: int | None = None
        self._has_told_why = False
        self.is_blind = events is None

    def scan_next(self) -> None:
        """The next look is a scan of all."""
        self._must_scan = True

    def wake_on_news(self, flag: Flag) -> None:
        """Set the flag once there is an event; then no more, until this is called again."""
        if self._events is None or self._wakes is not None:
            return
        with self._events.use() as number:
            self._wakes = number
            asyncio.get_running_loop().add_reader(number, self._wake, flag)

    def close(self) -> None:
        self._stop_waking()
        self._root.close()
        if self._events is not None:
            self._events.close()

    def look(self) -> list[Sighting]:
        """Blocking. What has come to notice since the last look."""
        with self._root.use() as root:
            if self._events is None:
                return self._scan(root, None) if self._must_scan else []
            with self._events.use() as events:
                return self._read(root, events)

    def _wake(self, flag: Flag) -> None:
        self._stop_waking()
        flag.set()

    def _stop_waking(self) -> None:
        if self._wakes is not None:
            asyncio.get_running_loop().remove_reader(self._wakes)
            self._wakes = None

    def _read(self, root: int, events: int) -> list[Sighting]:
        files: dict[bytes, Noticed] = {}
        folders: dict[bytes, Noticed] = {}
        for event in inotify.read_events(events):
            if event.mask & inotify.OVERFLOW:
                self._must_scan = True
            elif event.mask & inotify.IGNORED:
                self._paths.pop(event.watch, None)
            elif (parent := self._paths.get(event.watch)) is not None and event.name:
                path = parent + b"/" + event.name if parent else event.name
                noticed = _noticed(event)
                if event.mask & inotify.IS_FOLDER:
                    folders[path] = noticed
                elif noticed is not Noticed.FOUND:
                    # A file that was made is noticed as it is closed.
                    files[path] = noticed
        if self._must_scan:
            return [*self._look_at(root, files), *self._scan(root, events)]
        return [*self._look_at(root, files), *self._walk_into(root, events, folders)]

    def _look_at(self, root: int, files: dict[bytes, Noticed]) -> Iterable[Sighting]:
        for path, noticed in files.items():
            if self._choice.takes(to_text(path)) and (file := look_at(root, path)) is not None:
                yield _as_sighting(file, noticed)

    def _walk_into(self, root: int, events: int, folders: dict[bytes, Noticed]) -> Iterable[Sighting]:
        """New folders may have been filled before they were watched."""
        for noticed in (Noticed.MOVED_IN, Noticed.FOUND):
            starts = [
                path
                for path, why in folders.items()
                if why is noticed and can_hold_files(path) and self._choice.enters(to_text(path))
            ]
            for file in self._walk(root, events, starts):
                yield _as_sighting(file, noticed)

    def _scan(self, root: int, events: int | None) -> list[Sighting]:
        """Watch all folders, and tell of the files that are not as the last scan found them."""
        self._must_scan, self.is_blind = False, events is None
        before, self._paths = self._paths, {}
        files = self._walk(root, events, (b"",))
        if events is not None:
            _remove_watches(events, before.keys() - self._paths.keys())
        known, self._known = self._known, {file.path: (file.size_bytes, file.modified_ns) for file in files}
        return [
            _as_sighting(file, Noticed.FOUND)
            for file in files
            if known.get(file.path) != self._known[file.path]
        ]

    def _walk(self, root: int, events: int | None, starts: Iterable[bytes]) -> tuple[OutputFile, ...]:
        def enter(folder: int, path: bytes) -> None:
            if events is not None:
                self._add_watch(events, folder, path)

        return Walk(root, self._watched.limits, self._choice, enter).run(starts).files

    def _add_watch(self, events: int, folder: int, path: bytes) -> None:
        if len(self._paths) >= self._watched.most_watches:
            self._go_blind(f"more than {self._watched.most_watches} folders")
            return
        try:
            self._paths[inotify.add_watch(events, folder)] = path
        except OSError as error:
            if error.errno not in NO_WATCH:
                raise
            self._go_blind(str(error.strerror))

    def _go_blind(self, cause: str) -> None:
        if not self._has_told_why:
            log.warning("outputs.scanned", job=self._watched.job_id, cause=cause)
        self._has_told_why = self.is_blind = True


def open_eye(state: State, watched: Watched) -> Eye:
    """Blocking. Raises JobFolderMissingError, Openat2MissingError."""
    with open_outputs(state, watched.job_id) as number:
        root = Descriptor(open_beneath(number, b".", os.O_PATH | os.O_DIRECTORY))
    try:
        events = Descriptor(inotify.open_inotify())
    except OSError as error:
        if error.errno not in NO_WATCH:
            raise
        log.warning("outputs.scanned", job=watched.job_id, cause=str(error.strerror))
        return Eye(root, None, watched)
    return Eye(root, events, watched)


def _noticed(event: inotify.Event) -> Noticed:
    if event.mask & inotify.MOVED_TO:
        return Noticed.MOVED_IN
    return Noticed.CLOSED if event.mask & inotify.CLOSE_WRITE else Noticed.FOUND


def _as_sighting(file: OutputFile, noticed: Noticed) -> Sighting:
    return Sighting(file.path, file.size_bytes, file.modified_ns, noticed)


def _remove_watches(events: int, watches: Iterable[int]) -> None:
    for watch in watches:
        try:
            inotify.remove_watch(events, watch)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it went with its folder
                raise
