"""interfaces/notify — how far each job's notifications are, as it is kept. No implementation; a part of the Store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from agent.core.notify import Notice, NotifyState, Progress


class NotifyStore(Protocol):
    """Each method is one transaction, durable when it returns. All raise StoreUnavailableError.

    A job that asks for notifications is kept from its acceptance on, and is *open* until its state has an end.
    """

    async def notify_open(self) -> tuple[list[str], int]:
        """Ids of all open jobs, and the `seq` of the last event of the host."""
        ...

    async def notify_since(self, seq: int) -> tuple[list[str], int]:
        """Ids of open jobs that have events to be told with a later `seq`, and the `seq` of the last event of the host."""
        ...

    async def notice(self, job_id: str) -> Notice | None:
        """The next event to be told of an open job. None: it is not open, or there is no such job."""
        ...

    async def keep_notify(self, row: int, state: NotifyState) -> None:
        """Keep the state of `Notice.row`. A job that is gone is fine."""
        ...

    async def notify_progress(self, job_ids: Sequence[str]) -> Mapping[str, Progress]:
        """Of those that ask for notifications; an id that does not is no key."""
        ...
