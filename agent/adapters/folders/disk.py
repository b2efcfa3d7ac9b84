"""adapters/folders/disk — calls that block on the disk, in threads, with what the disk answers translated. Knows no folder."""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from agent.adapters.folders.durable import as_state_error
from agent.aio import Threads

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """Threads for one state folder."""

    def __init__(self, threads: Threads, state_dir: Path) -> None:
        self._threads = threads
        self._state_dir = str(state_dir)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in a thread. Raises StateFullError and StateReadOnlyError for what the disk says; the rest as it comes."""
        try:
            return await self._threads.run(function, *args, **kwargs)
        except OSError as error:
            known = as_state_error(error, self._state_dir)
            if known is None:
                raise
            raise known from error
