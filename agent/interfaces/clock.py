"""interfaces/clock — the clocks that the shell reads, and the promises on each method. No implementation."""

from typing import Protocol


class Clock(Protocol):
    """Three clocks: wall for what people read, boot for deadlines that outlive the daemon, the loop's own for waits."""

    boot_id: str

    def now(self) -> float: ...

    def boot_seconds(self) -> float: ...
