"""jobs/cords/tally — how many calls of cords ended how, and how long they took, since the daemon's start. Keeps nothing else."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent.errors import AgentError

ANSWERED, LEFT, BROKE = "answered", "caller_left", "internal_error"


@dataclass(slots=True)
class Tally:
    """`ends`: by how they ended: answered by the author, whatever he said; left by the caller; the code of our own answer; or by a mistake of ours."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @contextmanager
    def counting(self, clock: Callable[[], float]) -> Iterator[None]:
        began, end = clock(), BROKE
        try:
            yield
            end = ANSWERED
        except AgentError as error:
            end = error.code
            raise
        except (asyncio.CancelledError, GeneratorExit, ConnectionError):
            end = LEFT
            raise
        finally:
            self.ends[end] += 1
            self.seconds += clock() - began
