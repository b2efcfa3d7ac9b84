"""spec/forms — the ways to write one thing made one: GPU counts, sizes with units, times with offsets. Judges no limits.

Works on decoded JSON and returns decoded JSON: what it can't read is a fault and is left out, so that it is named once.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from agent.spec.faults import Fault
from agent.spec.units import parse_size

Body = dict[str, object]

RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6})[0-9]{0,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def read_forms(body: Body) -> tuple[Body, list[Fault]]:
    """Write sizes as bytes, a bare GPU count as an object and `not_before` in UTC."""
    plain, faults = dict(body), list[Fault]()
    if is_whole_number(plain.get("gpus")):
        plain["gpus"] = {"count": plain["gpus"]}
    if isinstance(gpus := plain.get("gpus"), dict):
        plain["gpus"] = read_field(gpus, ("min_memory", "gpus.min_memory"), read_size, faults)
    for name in ("memory", "shm", "disk"):
        plain = read_field(plain, (name, name), read_size, faults)
    return read_field(plain, ("not_before", "not_before"), read_time, faults), faults


def is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def read_field(
    holder: Body, key_and_path: tuple[str, str], read: Callable[[str], int | str], faults: list[Fault]
) -> Body:
    key, path = key_and_path
    written = holder.get(key)
    if not isinstance(written, str):
        return holder
    try:
        return {**holder, key: read(written)}
    except ValueError as unread:
        faults.append(
            Fault(path, "unreadable", f"can't be read: {unread}", "Write it in one of these forms.")
        )
        return {name: value for name, value in holder.items() if name != key}


def read_size(written: str) -> int:
    return parse_size(written)


def read_time(written: str) -> str:
    found = RFC_3339.fullmatch(written)
    if found is None:
        raise ValueError("a time is RFC 3339 with its offset, as in 2030-01-31T08:00:00Z")
    day, time, fraction, offset = found.groups()
    text = f"{day}T{time}.{(fraction or '0').ljust(6, '0')}{offset.upper().replace('Z', '+00:00')}"
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as unread:
        raise ValueError(f"there is no such time ({unread})") from unread
    return moment.isoformat()
