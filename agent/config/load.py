"""config/load — the two sources into one validated value, or one error with every fault. Reads through `config/sources` only."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agent.config.keys import Config
from agent.config.sources import ConfigFault, KeyPath, Layer, Place, merge, read_environ, read_file
from agent.config.words import say
from agent.errors import AgentError, Blame


class ConfigError(AgentError):
    """The config can't be used. `faults` holds all that is wrong with it, those of the file first and in its order."""

    code: ClassVar[str] = "config_invalid"
    blame: ClassVar[Blame] = Blame.USER
    remedy: ClassVar[str] = "Correct the keys named, then run `gpu-agent config check`."

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        self.faults = tuple(faults)
        super().__init__(
            "\n".join([f"the config has {len(faults)} fault(s):", *(f"  {fault}" for fault in faults)])
        )


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the config: built-in defaults, over them the TOML file, over it the variables `GPU_AGENT__SECTION__KEY`.

    `path` None reads no file. The names of variables are lower-cased; lists and tables in them are JSON.

    Raises ConfigError with every fault of both sources at once.
    """
    written = Layer() if path is None else read_file(path)
    exported = read_environ(environ)
    faults = [*written.faults, *exported.faults]
    try:
        config = Config.model_validate(merge(written.values, exported.values))
    except ValidationError as error:
        places = written.places | exported.places
        faults += [_explain(detail, places) for detail in error.errors(include_url=False)]
    if faults:
        raise ConfigError(sorted(faults, key=lambda fault: (fault.line is None, fault.line or 0)))
    return config


def _explain(detail: ErrorDetails, places: Mapping[KeyPath, Place]) -> ConfigFault:
    facts = detail.get("ctx", {})
    keys = tuple(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        code, text = "unknown_key", f"no such key; {_suggest(keys)}"
    elif detail["type"] == "rule":
        code, text, keys = facts["code"], facts["text"], (*keys[:-1], *facts["at"].split("."))
    else:
        code, text = "invalid", say(detail)
    place = _find_place(keys, places)
    return ConfigFault(place.where, place.line, ".".join(keys), code, text)


def _find_place(keys: KeyPath, places: Mapping[KeyPath, Place]) -> Place:
    """The place of the key, else of the table around it: an element of a list has none of its own."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in places:
            return places[keys[:length]]
    return Place("")


def _suggest(keys: KeyPath) -> str:
    """Name the nearest known key: a sibling that is spelled alike, else the same name elsewhere, else the closest path."""
    *table, name = keys
    defaults = Config()
    siblings = _known(defaults, table)
    everywhere = sorted(_all_paths(defaults))
    same_name = [path for path in everywhere if path.rpartition(".")[2] == name]
    if near := difflib.get_close_matches(name, siblings, n=1):
        best = ".".join([*table, near[0]])
    elif same_name:
        best = same_name[0]
    else:
        best = difflib.get_close_matches(".".join(keys), everywhere, n=1, cutoff=0.0)[0]
    return f"the nearest known one is {best}"


def _known(value: object, table: Sequence[str]) -> list[str]:
    for part in table:
        # The names in a mapping are the user's: any entry shows what an entry may hold.
        value = next(iter(value.values()), None) if isinstance(value, Mapping) else getattr(value, part, None)
    return list(type(value).model_fields) if isinstance(value, BaseModel) else []


def _all_paths(value: BaseModel, above: str = "") -> set[str]:
    paths = set()
    for name in type(value).model_fields:
        below = getattr(value, name)
        if isinstance(below, BaseModel):
            paths |= _all_paths(below, f"{above}{name}.")
        paths.add(f"{above}{name}")
    return paths
