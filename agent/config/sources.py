"""config/sources — what the file and the environment say, and where they say each key. Knows no rule of any key."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from agent.config.keys import Config

ENVIRON_PREFIX = "GPU_AGENT__"

KeyPath = tuple[str, ...]
Table = dict[str, object]


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One fault: the file line or the variable that holds it, the dotted key, a stable code, and what is wrong.

    `code`: unreadable, syntax, unknown_key, not_supported_yet or invalid. `line` counts from 1 and is None where the
    fault is in no line of the file.
    """

    where: str
    line: int | None
    key: str
    code: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.text) if part)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key was written: text for people, and the line if that is in the file."""

    where: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says, where it says each key, and what could not be read of it."""

    values: Table = field(default_factory=dict)
    places: dict[KeyPath, Place] = field(default_factory=dict)
    faults: tuple[ConfigFault, ...] = ()


def read_file(path: Path) -> Layer:
    """Read a TOML file. One that can't be opened, decoded or parsed is a Layer with that one fault."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        return _faulty(str(path), None, "unreadable", f"can't be read: {error.strerror}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        bad_line = raw.count(b"\n", 0, error.start) + 1
        return _faulty(
            f"{path}:{bad_line}", bad_line, "syntax", f"no UTF-8 at byte {error.start} of the file"
        )
    try:
        values = tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # tomllib's own is a ValueError; so is an integer of 5,000 digits
        line = _line_of(error, text)
        where = str(path) if line is None else f"{path}:{line}"
        return _faulty(where, line, "syntax", f"no valid TOML: {error}")
    places = {keys: Place(f"{path}:{line}", line) for keys, line in _locate(text)}
    return Layer(values, places)


def read_environ(environ: Mapping[str, str]) -> Layer:
    """Read the variables `GPU_AGENT__SECTION__KEY`, one by one, so that each can be at fault by its own name."""
    layer = Layer()
    for name in sorted(name for name in environ if name.startswith(ENVIRON_PREFIX)):
        keys = tuple(name[len(ENVIRON_PREFIX) :].lower().split("__"))
        try:
            values = _read_variable(name, environ[name])
        except SettingsError:
            text = 'a list or table in a variable is JSON, such as ["a", "b"]'
            fault = ConfigFault(name, None, ".".join(keys), "invalid", text)
            layer = Layer(layer.values, layer.places, (*layer.faults, fault))
            continue
        # Pydantic's source returns nothing for a name that is no key; kept as a key, it is then refused like any other.
        values = values or _nest(keys, environ[name])
        places = layer.places | {path: Place(name) for path in _paths(values)}
        layer = Layer(merge(layer.values, values), places, layer.faults)
    return layer


def merge(below: Mapping[str, object], above: Mapping[str, object]) -> Table:
    """Lay one table over another: tables are merged key by key, anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


class _EnvironConfig(Config, BaseSettings):
    """The same keys as settings, only for pydantic's reader of variables; never made."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")


def _read_variable(name: str, value: str) -> Table:
    source = EnvSettingsSource(_EnvironConfig, env_prefix=ENVIRON_PREFIX, env_nested_delimiter="__")
    # One variable of the mapping that we were given, not os.environ.
    source.env_vars = {name.lower(): value}
    return source()


def _nest(keys: KeyPath, value: object) -> Table:
    for key in reversed(keys[1:]):
        value = {key: value}
    return {keys[0]: value}


def _faulty(where: str, line: int | None, code: str, text: str) -> Layer:
    return Layer(faults=(ConfigFault(where, line, "", code, text),))


def _line_of(error: Exception, text: str) -> int | None:
    if "end of document" in str(error):
        return text.rstrip("\n").count("\n") + 1
    found = re.search(r"at line (\d+)", str(error))
    return int(found[1]) if found else None


def _locate(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Yield each key of a valid TOML text with the line on which its statement begins.

    tomllib keeps no positions. A statement ends at the first line end at which it parses by itself, since an open
    string, array or inline table does not; so the parser itself tells where one stops and the next begins.
    """
    table: KeyPath = ()
    statement, first_line = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not statement:
            first_line = number
        statement += line + "\n"
        try:
            values = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        is_header = statement.lstrip().startswith("[")
        for path in _paths(values):
            yield (*(() if is_header else table), *path), first_line
        if is_header:
            table = max(_paths(values), key=len)
        statement = ""


def _paths(values: object, above: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(values, list) and len(values) == 1:
        yield from _paths(values[0], above)
    elif isinstance(values, dict):
        for key, value in values.items():
            yield (*above, key)
            yield from _paths(value, (*above, key))
