"""points — lines of the daemon's log at which it is killed, and stories of such kills told several at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

AT_ONCE = 4

C = TypeVar("C")


@dataclass(frozen=True)
class Point:
    """A line of the daemon's log, at which it is killed. `facts` are fields that the line must have."""

    event: str
    facts: tuple[tuple[str, object], ...] = ()

    def matches(self, line: dict[str, Any]) -> bool:
        return line.get("event") == self.event and all(line.get(name) == fact for name, fact in self.facts)

    def __str__(self) -> str:
        return "-".join([self.event, *(str(fact) for _, fact in self.facts)])


def after(step: str) -> Point:
    return Point("step.taken", (("step", step),))


@contextmanager
def told_at_once(cases: Sequence[C], tell: Callable[[C], None]) -> Iterator[dict[C, "Future[None]"]]:
    """Each spends most of its time waiting."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: pool.submit(tell, case) for case in cases}


def asked_of(session: pytest.Session, kind: type[C]) -> list[C]:
    """The cases of this run, which has perhaps not all: those that the parameter `case` has."""
    return [case for item in session.items if isinstance(case := _parameter_of(item), kind)]


def _parameter_of(item: pytest.Item) -> object:
    return (
        item.callspec.params.get("case")
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else None
    )
