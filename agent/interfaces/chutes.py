"""interfaces/chutes — what a running function needs of the chute that it is of: the spec of a job of another of its functions. No implementation."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """`body`: a job spec as decoded JSON, its secrets in it. `file` and `attribute` lead to the chute, as in a FunctionCall."""

    body: object
    file: str
    attribute: str


class Chutes(Protocol):
    async def compose_child(self, owner: str, version: str, function: str) -> ChildSpec | None:
        """What a job of that function is run with: the version's own, whether or not it still is the chute's current one.

        None: it has no job of that name. Raises SpecRefusedError, ChuteFilesMissingError, StoreUnavailableError.
        """
        ...
