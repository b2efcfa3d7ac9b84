"""adapters/kernel_log — /dev/kmsg, from the oldest record on, in the event loop and never waiting. Tells of XIDs; judges none.

Each read gives one record. A reader that is too slow is told so (EPIPE) and goes on at the oldest record that is left. What
can't be opened or read is not tried again: that takes another permission, and a restart.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from agent.core.kernel_log import KernelClocks, LoggedXid, XidLine, earliest_at, read_xid_line

_log = structlog.get_logger()

# Above the longest record, with all that belongs to it: the kernel does not give a part of one (EINVAL).
_RECORD_BYTES = 16 << 10
# A millisecond or so. The loop goes on to others before the next bite.
_BITE_RECORDS = 256
# A ring of 16 MiB is read within two seconds.
_CATCH_UP_SECONDS = 10.0


class KernelLogFile:
    """What interfaces.KernelLog promises. `read` reads one record, as os.read does."""

    def __init__(
        self,
        path: Path,
        read: Callable[[int, int], bytes] = os.read,
        catch_up_seconds: float = _CATCH_UP_SECONDS,
    ) -> None:
        self._path, self._read, self._catch_up_seconds = path, read, catch_up_seconds
        self._tell: Callable[[Sequence[LoggedXid]], None] = _ignore
        self._descriptor: int | None = None
        self._condition: str | None = None
        self._is_live = False
        self._is_overrun = False

    def listen(self, tell: Callable[[Sequence[LoggedXid]], None]) -> None:
        self._tell = tell

    def condition(self) -> str | None:
        return self._condition

    async def open(self) -> None:
        """Tell of all that is there before this returns, unless that takes too long; then of what comes. For after `listen`."""
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            await self._catch_up()
            if self._descriptor is not None:
                asyncio.get_running_loop().add_reader(self._descriptor, self._take_bite)
        except OSError as error:
            self._give_up(str(error.strerror))

    def close(self) -> None:
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    async def _catch_up(self) -> None:
        """Bite by bite, and not as the loop says that there is more: where a bite ends with the log, it says nothing."""
        try:
            async with asyncio.timeout(self._catch_up_seconds):
                while not self._is_live:
                    self._take_bite()
                    await asyncio.sleep(0)
        except TimeoutError:
            _log.warning("kernel_log.slow", path=str(self._path), seconds=self._catch_up_seconds)

    def _take_bite(self) -> None:
        """Equal XIDs of one bite are one: the last, so that it is known how far was read."""
        found: dict[tuple[object, int], XidLine] = {}
        is_at_the_end = False
        for _ in range(_BITE_RECORDS):
            record = self._read_one()
            if record is None:
                is_at_the_end = True
                break
            if (line := read_xid_line(record)) is not None:
                found[line.address, line.xid] = line
        if found:
            now = _clocks()
            self._tell([self._logged(line, now) for line in found.values()])
        self._is_live |= is_at_the_end

    def _read_one(self) -> bytes | None:
        """None: there is no more now. An empty one: what was here is lost."""
        if self._descriptor is None:
            return None
        try:
            record = self._read(self._descriptor, _RECORD_BYTES)
        except BlockingIOError:
            self._is_overrun = False
            return None
        except BrokenPipeError:
            self._note_overrun()
            return b""
        except OSError as error:
            self._give_up(str(error.strerror))
            return None
        if not record:
            self._give_up("it ended")
            return None
        return record

    def _logged(self, line: XidLine, now: KernelClocks) -> LoggedXid:
        """One that is read as it comes has come now. Of the others only the stamp tells."""
        at = now.boot if self._is_live else earliest_at(line.micros, now)
        return LoggedXid(line.address, line.xid, line.record, at)

    def _note_overrun(self) -> None:
        if not self._is_overrun:
            _log.warning("kernel_log.overrun", path=str(self._path))
        self._is_overrun = True

    def _give_up(self, cause: str) -> None:
        self._condition = f"{self._path}: {cause}"
        _log.warning("kernel_log.unreadable", path=str(self._path), cause=cause)
        self.close()


def why_unreadable(path: Path) -> str | None:
    """For the doctor: what keeps this process from reading the log, without reading it. None: nothing."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _clocks() -> KernelClocks:
    return KernelClocks(
        time.clock_gettime(time.CLOCK_BOOTTIME),
        time.clock_gettime(time.CLOCK_MONOTONIC),
        time.clock_gettime(time.CLOCK_MONOTONIC_RAW),
    )


def _ignore(_found: Sequence[LoggedXid]) -> None:
    pass
