"""interfaces/chutes — what running functions and schedules need of a chute: the spec of a job of one of its functions. No implementation."""

from dataclasses import dataclass
from typing import Protocol

from agent.core.function import FunctionCall


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """`body`: a job spec as decoded JSON, its secrets in it. `file` and `attribute` lead to the chute, as in a FunctionCall."""

    body: object
    file: str
    attribute: str


@dataclass(frozen=True, slots=True)
class CallSpec:
    """`body`: a job spec as decoded JSON, its secrets in it. `call`: what it calls."""

    body: object
    call: FunctionCall


class ScheduledFunctions(Protocol):
    async def compose_call(self, owner: str, chute: str, function: str) -> CallSpec:
        """What a job of that function of the chute's current version is run with.

        Raises NoSuchChuteError, SpecRefusedError, ChuteFilesMissingError, StoreUnavailableError.
        """
        ...


class Chutes(Protocol):
    async def compose_child(self, owner: str, version: str, function: str) -> ChildSpec | None:
        """What a job of that function is run with: the version's own, whether or not it still is the chute's current one.

        None: it has no job of that name. Raises SpecRefusedError, ChuteFilesMissingError, StoreUnavailableError.
        """
        ...
