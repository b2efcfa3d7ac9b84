"""interfaces/cord_store — what is kept of the answers of cords, and the promises on each method. No implementation."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CordKey:
    """A call that its caller named."""

    owner: str
    chute: str
    key: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """`digest`: of the request."""

    digest: str
    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class CordStore(Protocol):
    """Answers of calls that were named. Each method is one transaction, durable when it returns. All raise StoreUnavailableError."""

    async def cord_answer(self, key: CordKey) -> KeptAnswer | None: ...

    async def keep_cord_answer(self, key: CordKey, answer: KeptAnswer, at: float) -> None:
        """The first one stays."""
        ...

    async def drop_cord_answers(self, before: float) -> None:
        """Those that were kept earlier. Those of a chute go with it (`ChuteStore.remove_chute`)."""
        ...
