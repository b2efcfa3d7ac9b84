"""config/words — what pydantic finds at fault, in the words of who writes the TOML file. Knows no key's rule, only how some read."""

from collections.abc import Mapping
from types import MappingProxyType

from pydantic_core import ErrorDetails

_WHOLE, _NUMBER = "a whole number is wanted", "a number is wanted"
_TABLE = "a table is wanted, as [NAME] begins one"
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "int_type": _WHOLE,
        "int_parsing": _WHOLE,
        "int_from_float": _WHOLE,
        "float_type": _NUMBER,
        "float_parsing": f"{_NUMBER}; times are seconds",
        "finite_number": "a finite number is wanted",
        "bool_type": "true or false is wanted",
        "bool_parsing": "true or false is wanted",
        "string_type": "text in quotes is wanted",
        "path_type": "an absolute path in quotes is wanted",
        "tuple_type": 'a list is wanted, such as ["a", "b"]',
        "dict_type": _TABLE,
        "mapping_type": _TABLE,
        "model_type": _TABLE,
        "literal_error": "{expected} is wanted",
        "greater_than": "more than {gt:g} is wanted",
        "greater_than_equal": "{ge:g} or more is wanted",
        "less_than_equal": "{le:.10g} or less is wanted",
        "string_too_long": "at most {max_length} characters are wanted",
        "string_too_short": "it may not be empty",
    }
)
# A pattern says what is right to machines alone.
_OF_KEYS: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        ("engine", "socket"): 'a path behind unix:// is wanted, such as "unix:///var/run/docker.sock"',
        ("network", "bridge"): "small letters, digits, - and _ are wanted, a letter first",
        ("ports", "external_host"): "a host's name or address is wanted, without scheme, port and path",
        ("gpus", "use"): 'a UUID as `nvidia-smi -L` shows it, or "*", is wanted',
    }
)


def say(detail: ErrorDetails) -> str:
    """What is wanted at the key. Where pydantic has a fault of a kind that is not known here, its own words."""
    kind = detail["type"]
    if kind == "string_pattern_mismatch":
        # Of an element of a list: its key.
        keys = tuple(part for part in detail["loc"] if isinstance(part, str))
        return _OF_KEYS.get(keys, detail["msg"])
    if kind in _WORDS:
        return _WORDS[kind].format_map(detail.get("ctx", {}))
    return detail["msg"].removeprefix("Value error, ")
