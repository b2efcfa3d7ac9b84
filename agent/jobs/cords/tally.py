"""jobs/cords/tally — how many calls of cords ended how, and how long they took, since the daemon's start. Keeps nothing else."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent.errors import AgentError

ANSWERED, LEFT = "answered", "caller_left"


@dataclass(slots=True)
class Tally:
    """`ends`: by how they ended: answered by the author, whatever he said; left by the caller; or the code of our own answer."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @contextmanager
    def counting(self, clock: Callable[[], float]) -> Iterator[None]:
        began, end = clock(), LEFT
        try:
            yield
            end = ANSWERED
        except AgentError as error:
            end = error.code
            raise
        finally:
            self.ends[end] += 1
            self.seconds += clock() - began
