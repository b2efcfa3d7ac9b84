"""interfaces/upload_store — how far each job's upload is, and the journal of its files, as it is kept. No implementation; a part of the Store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from agent.core.job import NewEvent
from agent.core.upload import JournalFile, Resend, UploadRecord


class UploadStore(Protocol):
    """Each method is one transaction, durable when it returns. All raise StoreUnavailableError. A job that is gone is fine."""

    async def begin_upload(self, job_id: str, at: float) -> UploadRecord | None:
        """The record, made now if there is none. None: there is no such job."""
        ...

    async def begin_upload_again(
        self, job_id: str, at: float, place: str, resend: Resend
    ) -> UploadRecord | None:
        """A record that was asked for again is opened (`core/upload.reopen`), and what is to be sent again leaves the journal.

        None: there is none that was.
        """
        ...

    async def upload_records(self, job_ids: Sequence[str]) -> Mapping[str, UploadRecord]:
        """Of those jobs that have one."""
        ...

    async def keep_upload(self, record: UploadRecord, events: Sequence[NewEvent] = ()) -> None:
        """Write the record, and tell these events of its job."""
        ...

    async def keep_files(self, row: int, files: Sequence[JournalFile]) -> None:
        """Write these into the journal, each in the place of what it said of that path."""
        ...

    async def journal(self, row: int, after: str, limit: int) -> list[JournalFile]:
        """The journal by path, from behind `after` ("": from its start)."""
        ...

    async def journal_of(self, row: int, paths: Sequence[str]) -> dict[str, JournalFile]:
        """What the journal says of these; an unknown one is no key."""
        ...

    async def retried_uploads(self) -> list[str]:
        """Ids of finished jobs whose upload is under way: nobody else goes on with these after a restart."""
        ...
