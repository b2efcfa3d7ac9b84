"""core/gpu_record — what is kept on disk of a GPU's health, as a value and as JSON. Reads and writes no file."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from agent.core.gpu_findings import GpuReason, GpuState, Need

MOST_HISTORY = 20
MOST_TOLD = 32

_UNREADABLE: GpuReason | None = GpuReason.RECORD_UNREADABLE


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history. `at` is UTC seconds."""

    at: float
    came_from: GpuState
    to: GpuState
    reason: GpuReason | None
    words: str


@dataclass(frozen=True, slots=True)
class GpuHealth:
    """What is on disk of one GPU. `since` is UTC seconds, `clean_since` and `cleared_at` are on CLOCK_BOOTTIME of the boot `boot_id`.

    `log_record`: the newest record of that boot's kernel log that is judged. It is kept with the verdict, in one write: a death
    can neither lose a record nor have it judged twice. `cleared_at`: what the log tells of the time before is settled.
    """

    uuid: str
    state: GpuState = GpuState.OK
    reason: GpuReason | None = None
    words: str = ""
    since: float = 0.0
    needs: frozenset[Need] = frozenset()
    boot_id: str = ""
    clean_since: float | None = None
    ecc_uncorrected: int | None = None
    told_xids: tuple[int, ...] = ()  # unknown ones that were warned of
    history: tuple[Change, ...] = ()
    log_record: int | None = None
    cleared_at: float | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record as far as it could be read. `faults`: what could not, for the log."""

    health: GpuHealth
    faults: tuple[str, ...] = ()


def newest(one: int | None, other: int | None) -> int | None:
    """The higher number of two records of the log, of which there may be none."""
    return max((number for number in (one, other) if number is not None), default=None)


def dump_health(health: GpuHealth) -> str:
    """Write one GPU as a JSON object that `load_health` reads back to an equal value. Its UUID is the record's key."""
    return json.dumps(
        {
            "state": health.state,
            "reason": health.reason,
            "words": health.words,
            "since": health.since,
            "needs": sorted(health.needs),
            "boot_id": health.boot_id,
            "clean_since": health.clean_since,
            "ecc_uncorrected": health.ecc_uncorrected,
            "told_xids": health.told_xids,
            "history": [
                [change.at, change.came_from, change.to, change.reason, change.words]
                for change in health.history
            ],
            "log_record": health.log_record,
            "cleared_at": health.cleared_at,
        }
    )


def load_health(uuid: str, text: str) -> Loaded:
    """Read what this version or another one dumped. Never raises: it keeps what it understands, and says what it does not.

    A damaged record is no way out of quarantine: where it can't be read whether the GPU was well, an operator must look.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        return Loaded(_hold(GpuHealth(uuid)), ("the record is no JSON object",))
    record = _Record(raw)
    health = GpuHealth(
        uuid,
        state=record.take("state", _state, GpuState.QUARANTINED),
        reason=record.take("reason", _reason, _UNREADABLE),
        words=record.take("words", _text, ""),
        since=record.take("since", _number, 0.0),
        needs=frozenset(record.take_all("needs", Need)),
        boot_id=record.take("boot_id", _text, ""),
        clean_since=record.take("clean_since", _optional(_number), None),
        ecc_uncorrected=record.take("ecc_uncorrected", _optional(_count), None),
        told_xids=tuple(record.take_all("told_xids", _count)[-MOST_TOLD:]),
        history=tuple(record.take_all("history", _change)[-MOST_HISTORY:]),
        log_record=record.take_later("log_record", _count),
        cleared_at=record.take_later("cleared_at", _number),
    )
    faults = (*record.faults, *(f"{name}: not known" for name in sorted(raw.keys() - record.taken)))
    return Loaded(_hold(health) if record.faulty & {"state", "needs", "boot_id"} else _mend(health), faults)


def _hold(health: GpuHealth) -> GpuHealth:
    held = replace(health, needs=health.needs | {Need.PROBATION, Need.OPERATOR}, clean_since=None)
    if health.state not in (GpuState.OK, GpuState.SUSPECT):
        return held
    words = "what was written down of its health can't be read"
    return replace(held, state=GpuState.QUARANTINED, reason=GpuReason.RECORD_UNREADABLE, words=words)


def _mend(health: GpuHealth) -> GpuHealth:
    """Two fields that contradict each other, which only a hand can have written: the worse one counts."""
    if health.state is GpuState.OK:
        return _hold(health) if health.needs else health
    away = health.state in (GpuState.MISSING, GpuState.RESETTING)
    return replace(health, needs=health.needs | {Need.PROBATION}) if away or not health.needs else health


Value = TypeVar("Value")


class _Record:
    """Takes values out of a JSON object one by one, and notes those that it can't read."""

    def __init__(self, raw: dict[str, object]) -> None:
        self._raw = raw
        self.taken: set[str] = set()
        self.faulty: set[str] = set()
        self.faults: list[str] = []

    def take(self, name: str, read: Callable[[Any], Value], default: Value) -> Value:
        self.taken.add(name)
        if name not in self._raw:
            self._blame(name, "missing")
            return default
        return next(iter(self._readable(name, [self._raw[name]], read)), default)

    def take_later(self, name: str, read: Callable[[Any], Value]) -> Value | None:
        """A field that came after others: a record without it is older, and no worse."""
        return self.take(name, _optional(read), None) if name in self._raw else None

    def take_all(self, name: str, read: Callable[[Any], Value]) -> list[Value]:
        entries: list[object] = self.take(name, _entries, [])
        return self._readable(name, entries, read)

    def _readable(self, name: str, entries: list[object], read: Callable[[Any], Value]) -> list[Value]:
        values = []
        for entry in entries:
            try:
                values.append(read(entry))
            except (ValueError, TypeError, OverflowError):
                self._blame(name, f"{str(entry)[:60]!r} can't be read")
        return values

    def _blame(self, name: str, words: str) -> None:
        self.faulty.add(name)
        self.faults.append(f"{name}: {words}")


def _optional(read: Callable[[Any], Value]) -> Callable[[Any], Value | None]:
    return lambda value: None if value is None else read(value)


def _entries(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _state(value: object) -> GpuState:
    return GpuState(_text(value))


def _reason(value: object) -> GpuReason | None:
    return None if value is None else GpuReason(_text(value))


def _change(value: object) -> Change:
    at, came_from, to, why, words = _entries(value)
    return Change(_number(at), _state(came_from), _state(to), _reason(why), _text(words))
