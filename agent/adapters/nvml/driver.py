"""adapters/nvml/driver — NVML's calls with failures as codes, and GPUs found by index or UUID. Runs in the child; never waits."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pynvml

# NVML's own numbers (nvml.h), and our names for those that something is done about.
_CODES = {
    1: "uninitialized",
    2: "invalid_argument",
    3: "not_supported",
    4: "no_permission",
    6: "not_found",
    9: "driver_not_loaded",
    10: "timeout",
    12: "library_not_found",
    13: "function_not_found",
    15: "gpu_lost",
    16: "reset_required",
    17: "blocked_by_kernel",
    18: "driver_mismatch",
}


class Failure(Exception):  # noqa: N818 - of one call, and no more than an answer
    """NVML's no to one call."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def ask(function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - pynvml has no types
    """Raises Failure for all that NVML or its binding may say. Two unlike errors mean the same there (GPU.md §1)."""
    try:
        return function(*args)
    except pynvml.NVMLError as error:
        number = error.value
        raise Failure(_CODES.get(number, f"nvml_{number}"), str(error)) from None
    except pynvml.NVMLLibraryMismatchError as error:
        raise Failure("function_not_found", str(error)) from None
    except UnicodeDecodeError as error:
        raise Failure("unreadable", str(error)) from None


class Sheet:
    """What one GPU answers, field by field: one that fails is None and a fault, and never ends the others."""

    def __init__(self, **known: object) -> None:
        self.faults: dict[str, str] = {}
        self.values: dict[str, object] = {**known, "faults": self.faults}

    def fill(self, name: str, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - as `ask`
        try:
            value = ask(function, *args)
        except Failure as failure:
            self.faults[name] = failure.code
            value = None
        self.values[name] = value
        return value


class Unit(NamedTuple):
    """A GPU, or a MIG instance of one: `whole` is then the GPU's handle."""

    uuid: str
    place: int
    handle: Any
    whole: Any


class Driver:
    """`skip` are GPUs (by index) not to be touched, since one hung; `mark` is told of each before it is touched."""

    def __init__(self, mark: Callable[[int], None]) -> None:
        self._mark = mark
        self._is_open = False
        self._places: dict[str, int] = {}
        self.skip: frozenset[int] = frozenset()

    def open(self) -> None:
        """Raises Failure. May be called again: then the driver may have come."""
        if not self._is_open:
            ask(pynvml.nvmlInit)
            self._is_open = True

    def count(self) -> int:
        return int(ask(pynvml.nvmlDeviceGetCount))

    def gpu(self, index: int) -> Any:  # noqa: ANN401 - a handle
        """Raises Failure."""
        if index in self.skip:
            raise Failure("skipped", "it did not answer before, and is left alone for a while")
        self._mark(index)
        return ask(pynvml.nvmlDeviceGetHandleByIndex, index)

    def units(self, uuids: Iterable[str]) -> Iterator[tuple[str, Unit | Failure]]:
        """By index and not by UUID: look-ups by UUID fail on a host with one sick GPU. Only what is asked for is touched."""
        for uuid in uuids:
            unit = self._at(self._places.get(uuid), uuid)
            if unit is None:
                unit = next(filter(None, (self._at(index, uuid) for index in range(self.count()))), None)
            yield uuid, unit or self._why_not(uuid)

    def _why_not(self, uuid: str) -> Failure:
        """One that hangs is there; and while one is left alone, nobody can tell which it is unless it was seen before."""
        if self._places.get(uuid) in self.skip or (self.skip and uuid not in self._places):
            return Failure("skipped", "it did not answer before, and is left alone for a while")
        return Failure("not_found", "the driver lists no such GPU")

    def _at(self, index: int | None, uuid: str) -> Unit | None:
        """The unit if it is that GPU, or one of its MIG instances."""
        if index is None:
            return None
        try:
            whole = self.gpu(index)
            found = ask(pynvml.nvmlDeviceGetUUID, whole)
        except Failure:
            return None  # a GPU that fails hides no other; its own faults are in the inventory
        if found == uuid:
            self._places[uuid] = index
            return Unit(uuid, index, whole, whole)
        for _, instance in instances(whole):
            sheet = Sheet()
            if sheet.fill("uuid", pynvml.nvmlDeviceGetUUID, instance) == uuid:
                self._places[uuid] = index
                return Unit(uuid, index, instance, whole)
        return None


def instances(whole: Any) -> Iterator[tuple[int, Any]]:  # noqa: ANN401 - a handle
    """The MIG instances of a GPU by slot. Slots have holes; a GPU without MIG has no slots."""
    try:
        slots = ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, whole)
    except Failure:
        return
    for slot in range(slots):
        try:
            yield slot, ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, whole, slot)
        except Failure:
            continue  # a hole
