"""A chute whose functions are told by a test."""

from agent.interfaces import ChuteFilesMissingError
from agent.interfaces.chutes import ChildSpec
from agent.spec import Fault, SpecRefusedError


class FakeChutes:
    """`bodies`: by function, of a spec. `asked`: owner, version and function of each question."""

    def __init__(self) -> None:
        self.bodies: dict[str, object] = {"step": {"image": "busybox"}}
        self.is_missing = False
        self.fault: Fault | None = None
        self.asked: list[tuple[str, str, str]] = []

    async def compose_child(self, owner: str, version: str, function: str) -> ChildSpec | None:
        self.asked.append((owner, version, function))
        if self.is_missing:
            raise ChuteFilesMissingError(version)
        if self.fault is not None:
            raise SpecRefusedError([self.fault])
        body = self.bodies.get(function)
        return None if body is None else ChildSpec(body, "main.py", "app")
