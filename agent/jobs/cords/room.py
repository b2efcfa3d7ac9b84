"""jobs/cords/room — how much memory calls of cords may hold at once, those of an owner and those of all. Holds nothing itself."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agent.jobs.cords.errors import CordBusyError, CordRoomFullError

OWNER_BYTES, ALL_BYTES = 32 << 20, 128 << 20
# What a call holds beside its body, which is there twice until its head comes: as it arrived, and as it is sent.
CALL_BYTES, BODIES = 32 << 10, 2


class Room:
    """Of all calls that are under way, from before they wait for anything."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @contextmanager
    def holding(self, owner: str, body_bytes: int) -> Iterator[None]:
        """While the block runs. Raises CordBusyError, CordRoomFullError."""
        size = BODIES * body_bytes + CALL_BYTES
        if self._held[owner] + size > OWNER_BYTES:
            raise CordBusyError("your calls of cords hold as much memory as those of one may")
        if self._held.total() + size > ALL_BYTES:
            raise CordRoomFullError("all calls of cords on this host hold as much memory as they may")
        self._held[owner] += size
        try:
            yield
        finally:
            self._held[owner] -= size
            if not self._held[owner]:
                del self._held[owner]
