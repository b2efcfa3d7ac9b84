"""jobs/uploads/tally — how many files left and how many were given up, of all jobs, since the daemon's start. Keeps nothing else."""

from dataclasses import dataclass

from agent.core.upload import FileState, JournalFile


@dataclass(slots=True)
class SentTally:
    """`failed`: given up. `troubles`: tries that came to nothing, most of which are made again. They only ever grow."""

    files: int = 0
    bytes: int = 0
    failed: int = 0
    troubles: int = 0

    def count(self, file: JournalFile) -> None:
        """The journal has it, whatever it had of that path before."""
        if file.state is FileState.SENT:
            self.files += 1
            self.bytes += file.size_bytes
        else:
            self.failed += 1
