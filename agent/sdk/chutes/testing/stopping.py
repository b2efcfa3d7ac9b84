"""chutes/testing/stopping — the request to end a job, which may come from any thread. Ends nothing itself."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import Iterator


class Stop:
    """Once asked for, it stands until it is lifted."""

    def __init__(self) -> None:
        self.is_asked = False
        self._watching: list[asyncio.Future[None]] = []

    def ask(self) -> None:
        self.is_asked = True
        for future in tuple(self._watching):
            future.get_loop().call_soon_threadsafe(_wake, future)

    def lift(self) -> None:
        self.is_asked = False

    @contextmanager
    def watched(self) -> Iterator[asyncio.Future[None]]:
        """A future that is done as soon as it is asked for."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watching.append(future)
        # Looked at after it is watched: what is asked for in between is then seen by one of the two.
        if self.is_asked:
            _wake(future)
        try:
            yield future
        finally:
            self._watching.remove(future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
