"""The fake engine, with a memory of how each container truly ended: what the daemon may only infer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from agent.core.container import ContainerState
from tests.fakes.engine import FakeEngine


@dataclass(frozen=True, slots=True)
class Death:
    """`cause`: own, ours, stranger or engine."""

    cause: str
    code: int
    at: float


class TruthfulEngine(FakeEngine):
    """`deaths` by job and attempt. `on_start` is called as a container begins to run."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # the fake's own arguments
        self.deaths: dict[tuple[str, int], Death] = {}
        self.removed_by_strangers: set[tuple[str, int]] = set()
        self.on_start: Callable[[str], None] = lambda _container: None
        self._cause = "own"

    @contextmanager
    def _because(self, cause: str) -> Iterator[None]:
        before, self._cause = self._cause, cause
        try:
            yield
        finally:
            self._cause = before

    def kill_from_outside(self, container: str, code: int = 137) -> None:
        with self._because("stranger"):
            super().kill_from_outside(container, code)

    def remove_from_outside(self, container: str) -> None:
        seen = self.boxes[container].seen
        self.removed_by_strangers.add((seen.job or "", seen.attempt or 0))
        super().remove_from_outside(container)

    def kill_now(self, container: str, signal: str) -> None:
        with self._because("ours"):
            super().kill_now(container, signal)

    def stop(self, codes: Mapping[str, int] | None = None) -> None:
        with self._because("engine"):
            super().stop(codes)

    def crash(self, codes: Mapping[str, int] | None = None) -> None:
        with self._because("engine"):
            super().crash(codes)

    def _start(self, container: str) -> None:
        super()._start(container)
        self.on_start(container)

    def _die(self, container: str, code: int) -> None:
        box = self.boxes.get(container)
        if box is not None and box.seen.state is ContainerState.RUNNING:
            key = (box.seen.job or "", box.seen.attempt or 0)
            self.deaths[key] = Death(self._cause, code, self.clock.now())
        super()._die(container, code)
