"""chutes/chute/job — a port and a registered job, as values. What is legal in them is chutes/_rules' to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

SSH_PORT = 2202


class Port:
    """A port inside the container. It only holds what it is given: `@chute.job` checks all of a job at once."""

    def __init__(self, /, name: Any = None, port: Any = None, proto: Any = None, **unknown: Any) -> None:
        self.name = name
        self.port = port
        self.proto = proto
        self.unknown: dict[str, Any] = unknown

    def __repr__(self) -> str:
        return f"Port(name={self.name!r}, port={self.port!r}, proto={self.proto!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Port) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((Port, str(self.name), str(self.port), str(self.proto)))


@dataclass(frozen=True)
class Job:
    """A function under `@chute.job`, after every check. `name` is what it is started by."""

    name: str
    function: Callable[..., Any]
    ports: tuple[Port, ...]
    timeout: int | None
    upload: bool
    ssh: bool
    schedule: str | None
    retry_count: int
    queue: str
    priority: int

    @property
    def shown_ports(self) -> tuple[Port, ...]:
        """The declared ports, with SSH's own where `ssh` asks for it and none of them is it."""
        if not self.ssh or any(port.port == SSH_PORT for port in self.ports):
            return self.ports
        return (*self.ports, Port(name="ssh", port=SSH_PORT, proto="tcp"))
