"""interfaces/cord_store — what is known of named calls of cords, and the promises on each method. No implementation."""

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
    """What the cord answered, whole."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class BegunCall:
    """`digest`: of the request. `id`: by which what it starts is named. `answer` None: there is none yet, or it was not kept."""

    digest: str
    id: str
    answer: KeptAnswer | None = None


@dataclass(frozen=True, slots=True)
class CordCaps:
    """Of one owner: how many calls are known, how many answers are kept, of how many bytes; and of how many those of all."""

    calls: int
    answers: int
    owner_bytes: int
    all_bytes: int


class CordStore(Protocol):
    """Calls that were named. Each method is durable when it returns. All raise StoreUnavailableError."""

    async def begin_cord_call(self, key: CordKey, call: BegunCall, at: float, caps: CordCaps) -> BegunCall:
        """The call that is known under the name: this one, where there was none. Of too many the owner's oldest are forgotten."""
        ...

    async def keep_cord_answer(self, key: CordKey, call_id: str, answer: KeptAnswer, caps: CordCaps) -> None:
        """Of that call, where it is still known; the first one stays. Beyond the caps the answers of the oldest calls go, and not the calls."""
        ...

    async def drop_cord_calls(self, before: float) -> None:
        """Those that began earlier, some at a time. Those of a chute go with it (`ChuteStore.remove_chute`)."""
        ...
