"""chutes/_signature — the parameters that a decorated function has after `self`. Gives them no values."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Callable, NamedTuple

EMPTY = inspect.Parameter.empty
MAX_ANNOTATION_CHARACTERS = 200
KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional_only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional_or_keyword",
    inspect.Parameter.KEYWORD_ONLY: "keyword_only",
    inspect.Parameter.VAR_POSITIONAL: "var_positional",
    inspect.Parameter.VAR_KEYWORD: "var_keyword",
}
SIGNS = {"var_positional": "*", "var_keyword": "**"}


class Parameter(NamedTuple):
    name: str
    kind: str
    required: bool
    annotation: str | None

    @property
    def is_named(self) -> bool:
        return self.kind not in SIGNS

    def __str__(self) -> str:
        kind = f": {self.annotation}" if self.annotation else ""
        default = " = …" if self.is_named and not self.required else ""
        return f"{SIGNS.get(self.kind, '')}{self.name}{kind}{default}"


def read_parameters(function: Callable[..., Any]) -> list[Parameter]:
    """Without the first, which takes the chute."""
    read = [
        Parameter(
            name=each.name,
            kind=KINDS[each.kind],
            required=each.default is EMPTY and KINDS[each.kind] not in SIGNS,
            annotation=None if each.annotation is EMPTY else write_annotation(each.annotation),
        )
        for each in read_signature(function).parameters.values()
    ]
    return read[1:]


def read_signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        # There an annotation is code that runs when it is read, and fails where a name in it was never imported.
        import annotationlib  # noqa: PLC0415

        return inspect.signature(function, annotation_format=annotationlib.Format.STRING)
    return inspect.signature(function)


def write_annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text[:MAX_ANNOTATION_CHARACTERS]


def write_call(function: Callable[..., Any]) -> str:
    """As an author reads it: `train_model(training_config: dict)`."""
    return f"{function.__name__}({', '.join(map(str, read_parameters(function)))})"
