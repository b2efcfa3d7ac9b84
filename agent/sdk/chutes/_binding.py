"""chutes/_binding — how a payload becomes the arguments of a job's function. Calls nothing."""

from __future__ import annotations

from typing import Any, Callable, Iterable, NamedTuple, NoReturn

from chutes._signature import Parameter, read_parameters, read_signature, write_call
from chutes.errors import PayloadError

# The one argument that the platform has for whoever asks for it by name.
OUTPUT_DIR = "output_dir"
SHOWN_NAMES, SHOWN_CHARACTERS = 10, 60
# Types that an empty object is certainly not meant for.
NO_OBJECTS = frozenset(
    {"bool", "bytes", "float", "int", "list", "List", "Sequence", "set", "Set", "str", "tuple", "Tuple"}
)


class Bound(NamedTuple):
    """What comes after `self` in the call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def bind(function: Callable[..., Any], payload: Any, output_dir: str) -> Bound:
    """Give the arguments that come after `self`. Raises PayloadError, with the signature that was expected.

    A `**rest` gets everything, named parameters get their own, and a lone one whose name is not in the payload gets all
    of it. `payload` is decoded JSON; None stands for none at all.
    """
    parameters = read_parameters(function)
    named = [each for each in parameters if each.is_named]
    takes_rest = any(each.kind == "var_keyword" for each in parameters)
    values = gather(function, named, payload, is_closed=not takes_rest)
    if takes_rest or any(each.name == OUTPUT_DIR for each in named):
        values[OUTPUT_DIR] = output_dir
    wrong = find_misfits(function, named, values, is_closed=not takes_rest)
    if wrong:
        refuse(function, "; ".join(wrong))
    return arrange(function, named, values)


def gather(
    function: Callable[..., Any], named: list[Parameter], payload: Any, *, is_closed: bool
) -> dict[str, Any]:
    asked = [each for each in named if each.name != OUTPUT_DIR]
    if is_closed and len(asked) == 1 and is_all_for(asked[0], payload):
        return {asked[0].name: payload}
    if payload is None:
        return {}
    if not isinstance(payload, dict):
        refuse(function, f"it is a {type(payload).__name__} and no object")
    return dict(payload)


def is_all_for(lone: Parameter, payload: Any) -> bool:
    if payload is None or (isinstance(payload, dict) and lone.name in payload):
        return False
    # An empty object may be an empty configuration, or just nothing: then a default, or the complaint, says more.
    return payload != {} or (lone.required and not is_no_object(lone.annotation or ""))


def is_no_object(annotation: str) -> bool:
    return annotation.partition("[")[0].rpartition(".")[2] in NO_OBJECTS


def find_misfits(
    function: Callable[..., Any], named: list[Parameter], values: dict[str, Any], *, is_closed: bool
) -> list[str]:
    """What is missing, unknown or not to be had, in words."""
    known = {each.name for each in named}
    wrong = []
    missing = [each.name for each in named if each.required and each.name not in values]
    unknown = [name for name in values if name not in known] if is_closed else []
    taken = [name for name in name_of_the_chute(function) if name in values and name not in unknown]
    if missing:
        wrong.append(f"{write_names(missing)} missing")
    if unknown:
        wrong.append(f"{write_names(unknown)} unknown")
    if taken:
        wrong.append(f"{write_names(taken)} taken by the chute itself")
    return wrong


def name_of_the_chute(function: Callable[..., Any]) -> list[str]:
    """Its name, where the payload could not have one like it."""
    first = next(iter(read_signature(function).parameters.values()))
    return [first.name] if first.kind is first.POSITIONAL_OR_KEYWORD else []


def arrange(function: Callable[..., Any], named: list[Parameter], values: dict[str, Any]) -> Bound:
    defaults = read_signature(function).parameters
    leading = [each.name for each in named if each.kind == "positional_only"]
    args = tuple(values.pop(name, defaults[name].default) for name in leading)
    return Bound(args, values)


def refuse(function: Callable[..., Any], what: str) -> NoReturn:
    raise PayloadError(f"the payload does not fit {write_call(function)}: {what}")


def write_names(names: Iterable[str]) -> str:
    every = list(names)
    told = ", ".join(name[:SHOWN_CHARACTERS] for name in every[:SHOWN_NAMES])
    rest = f" and {len(every) - SHOWN_NAMES} more" if len(every) > SHOWN_NAMES else ""
    return f"{told}{rest} {'is' if len(every) == 1 else 'are'}"
