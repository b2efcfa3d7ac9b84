"""adapters/docker/pace — waits of less than a millisecond, to which the event loop rounds all of its own. Knows no streams."""

import asyncio
import contextlib
import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_CLOCK_MONOTONIC = 1


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec`: timerfd_create(2)."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanos", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanos", ctypes.c_long),
    )


class FineTimer:
    """A kernel's timer as a file, which the loop polls as it polls sockets: timerfd_create(2). One waits at a time.

    Raises OSError where no more files can be opened.
    """

    def __init__(self) -> None:
        """Only in a running loop."""
        self._loop = asyncio.get_running_loop()
        self._file = _checked(_libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._waiter: asyncio.Future[None] | None = None
        self._loop.add_reader(self._file, self._ring)

    async def wait(self, nanos: int) -> None:
        """`nanos`: more than 0, less than a second."""
        self._waiter = self._loop.create_future()
        _checked(_libc.timerfd_settime(self._file, 0, ctypes.byref(_TimerSpec(nanos=nanos)), None))
        await self._waiter

    def close(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # set anew since it rang
            os.read(self._file, 8)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
