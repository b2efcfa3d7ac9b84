"""config/show — a config written out as TOML, and what differs between two of them. Reads and changes nothing."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from agent.config.keys import Config

# What the daemon can take over while it runs (SIGHUP). All else was built into something at the start.
RELOADABLE = re.compile(
    r"log\.level|queues\..+|limits\..+|jobs\..+|images\..+|uploads\..+|chutes\..+|outputs\.(?:retention|max_files|max_bytes)",
    re.DOTALL,
)
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Changes:
    """Dotted keys that differ between two configs: those a running daemon can take over, and those that need a restart."""

    reloadable: tuple[str, ...]
    needs_restart: tuple[str, ...]


def show_config(config: Config) -> str:
    """Write the effective config as TOML that `load_config` reads back to an equal value. No key of it is a secret.

    An unset key is a comment, since TOML has no word for it.
    """
    return "\n\n".join("\n".join(lines) for lines in _tables((), config)) + "\n"


def changed_keys(old: Config, new: Config) -> Changes:
    """Name the keys in which two configs differ, in alphabetical order."""
    before, after = dict(_leaves((), old)), dict(_leaves((), new))
    absent = object()
    names = sorted(
        ".".join(key)
        for key in before.keys() | after.keys()
        if before.get(key, absent) != after.get(key, absent)
    )
    return Changes(
        reloadable=tuple(name for name in names if RELOADABLE.fullmatch(name)),
        needs_restart=tuple(name for name in names if not RELOADABLE.fullmatch(name)),
    )


def _tables(path: tuple[str, ...], value: object) -> Iterator[list[str]]:
    """Yield the lines of this table, then those of the tables in it: in TOML a table's own keys come first."""
    entries = _entries(value)
    own = [_show_entry(name, entry) for name, entry in entries if not _is_table(entry)]
    if own or (path and not entries):
        header = [f"[{'.'.join(map(_show_key, path))}]"] if path else []
        yield header + own
    for name, entry in entries:
        if _is_table(entry):
            yield from _tables((*path, name), entry)


def _leaves(path: tuple[str, ...], value: object) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, entry in _entries(value):
        if _is_table(entry):
            yield from _leaves((*path, name), entry)
        else:
            yield (*path, name), entry


def _is_table(value: object) -> bool:
    return isinstance(value, BaseModel | Mapping)


def _entries(value: object) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return sorted((str(name), entry) for name, entry in value.items())
    if isinstance(value, BaseModel):
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    return []


def _show_entry(name: str, value: object) -> str:
    return f"# {_show_key(name)} is unset" if value is None else f"{_show_key(name)} = {_show_value(value)}"


def _show_key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else _quote(name)


def _show_value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_show_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else repr(value)
    return _quote(str(value))


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped and JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
