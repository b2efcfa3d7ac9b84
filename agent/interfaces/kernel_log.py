"""interfaces/kernel_log — what the shell needs of the kernel's log, and the promises on each method. No implementation."""

from collections.abc import Callable, Sequence
from typing import Protocol

from agent.core.kernel_log import LoggedXid


class KernelLog(Protocol):
    """It raises from none, whatever becomes of the log."""

    def listen(self, tell: Callable[[Sequence[LoggedXid]], None]) -> None:
        """Have `tell` called in the event loop with the XIDs of this boot: those that the log still has, then each as it comes.

        Equal ones that come together are told as one, the last. It must return at once.
        """
        ...

    def condition(self) -> str | None:
        """Why the log can't be read, in plain words. None: it is read."""
        ...
