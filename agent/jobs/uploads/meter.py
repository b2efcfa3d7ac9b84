"""jobs/uploads/meter — how far an upload is just now, in memory: what the record says with what is on its way. Writes nothing."""

from dataclasses import dataclass, field, replace

from agent.core.rate import Rate, measure
from agent.core.upload import FileState, JournalFile, Tally, UploadRecord, UploadTrouble
from agent.core.upload_form import UploadView
from agent.interfaces import Store
from agent.jobs.uploads.journal import journal_pages


@dataclass(slots=True)
class Meter:
    """Of one drive. `record` is what was written last; counts since then are here."""

    record: UploadRecord
    sent: Tally = field(default_factory=Tally)
    failed: int = 0
    trouble: UploadTrouble | None = None  # the last, which may have passed
    given_up: UploadTrouble | None = None  # of a file that is given up
    moving: dict[str, int] = field(default_factory=dict)
    _rate: Rate | None = None

    def move(self, path: str, size_bytes: int, at: float) -> None:
        """So many bytes more of the file are on their way, at the loop's time `at`."""
        self.moving[path] = self.moving.get(path, 0) + size_bytes
        self._rate = measure(self._rate, size_bytes, at)

    def stop(self, path: str) -> None:
        """The try is over, whatever came of it."""
        self.moving.pop(path, None)

    async def count_all(self, store: Store) -> None:
        """What the journal has had until now."""
        async for page in journal_pages(store, self.record.row):
            for file in page:
                self.count(file)

    def count(self, file: JournalFile, before: JournalFile | None = None) -> None:
        """The journal has it, in the place of what it had of that path."""
        if before is not None and before.state is FileState.SENT:
            self.sent = Tally(self.sent.files - 1, self.sent.bytes - before.size_bytes)
        if file.state is FileState.SENT:
            self.sent = Tally(self.sent.files + 1, self.sent.bytes + file.size_bytes)
        else:
            self.failed += 1
            self.given_up = file.trouble

    def current(self) -> UploadRecord:
        return replace(self.record, sent=self.sent, failed=self.failed, trouble=self.trouble)

    def view(self, at: float) -> UploadView:
        moving = sum(self.moving.values())
        rate = None if self._rate is None else self._rate.per_second(at)
        return UploadView(self.current(), self.sent.bytes + moving, rate)
