"""chutes/_function_rules — what a function must be to be decorated. What it is decorated with is others' to check."""

from __future__ import annotations

import inspect
from typing import Any, Iterator

from chutes._signature import read_signature
from chutes.errors import Fault


def is_function(function: Any) -> bool:
    return inspect.isfunction(function)


def find_function_faults(function: Any) -> Iterator[Fault]:
    if not is_function(function):
        told = f"must be a def or an async def, not {function!r:.80}"
        yield Fault("function", told, "Decorate a function.")
        return
    first = next(iter(read_signature(function).parameters.values()), None)
    if first is None or first.kind in {first.KEYWORD_ONLY, first.VAR_KEYWORD}:
        remedy = f"Write {function.__name__}(self, …)."
        yield Fault("function", "takes no self, and the chute is its first argument", remedy)


def find_yield_fault(function: Any) -> Iterator[Fault]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield Fault("function", "yields, and a job returns its result once", "Return a value instead.")
