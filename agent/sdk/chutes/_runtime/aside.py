"""chutes/_runtime/aside — a thread for a plain function, so that signals are heard while it is in a C library. Judges nothing it does."""

from __future__ import annotations

from threading import Lock, Thread, stack_size
from typing import Callable

# As the main thread's: some C libraries give a thread far less, and the author's recursion would end it.
STACK_BYTES = 8 << 20


class Aside:
    """Made before the author's file is imported, which may put something else in the place of threads, as gevent does."""

    def __init__(self) -> None:
        self._given = Lock()
        self._given.acquire()
        self._over = Lock()
        self._over.acquire()
        self._work: Callable[[], None] = _nothing
        stack_size(STACK_BYTES)
        # It may never end: the process does so without it.
        Thread(target=self._run, name="chutes-function", daemon=True).start()
        stack_size(0)

    def run(self, work: Callable[[], None]) -> None:
        """Once. Waits for it; a signal handler that raises ends the waiting, and not the work."""
        self._work = work
        self._given.release()
        self._over.acquire()

    def _run(self) -> None:
        self._given.acquire()
        try:
            self._work()
        finally:
            self._over.release()


def _nothing() -> None:
    return None
