"""core/exec — a command beside a running job's own: what is to run, and what comes out of it. Pure values; runs nothing."""

from dataclasses import dataclass, field

from agent.core.frames import Stream

# Where no command is given: the image's bash, else its sh, which reads what the image's own environment says.
DEFAULT_SHELL = ("/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash; fi; exec sh")


@dataclass(frozen=True, slots=True)
class WindowSize:
    """Of a terminal, in characters."""

    columns: int = 80
    rows: int = 24


@dataclass(frozen=True, slots=True)
class ExecPlan:
    """What runs in a container that runs already. None and nothing: as the container has it; `environment` comes on top.

    `terminal`: its first size; None gives pipes, whose stdout and stderr are told apart. What a person may type or set
    (a token on the command line) is not for logs.
    """

    command: tuple[str, ...] = field(repr=False)
    user: str | None = None
    workdir: str | None = None
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    terminal: WindowSize | None = None


@dataclass(frozen=True, slots=True)
class ExecOutput:
    """A piece of what it wrote, cut anywhere. A terminal has but one stream."""

    stream: Stream
    data: bytes = field(repr=False)
