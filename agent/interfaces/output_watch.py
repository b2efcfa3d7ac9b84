"""interfaces/output_watch — who notices output files while their job runs, and the promises. No implementation."""

from collections.abc import AsyncGenerator
from typing import Protocol

from agent.core.globs import OutputChoice
from agent.core.quiet import Sighting
from agent.interfaces.outputs import OutputLimits


class OutputWatch(Protocol):
    def watch_outputs(
        self, job_id: str, limits: OutputLimits, choice: OutputChoice
    ) -> AsyncGenerator[Sighting, None]:
        """The chosen files that are there, then each as it is closed after writing or renamed in; without end.

        Only files that can be opened are told, each as it was a moment ago. One may be told more often than it was written, and
        one that is written again and again more seldom. Nothing is kept for a reader that is slow: what it misses is found by a
        scan and told as found. So it is where the host can't watch (too many folders, no inotify left), each half a minute; a
        file that is told then may still be open. What `limits` end is not told at all. The last pass sends whatever was missed.

        It holds descriptors until it is closed: use contextlib.aclosing. Raises JobFolderMissingError, Openat2MissingError.
        """
        ...
