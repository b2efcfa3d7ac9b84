"""spec/faults — what is wrong with a job spec, as values, and the one error that carries all of it. Finds nothing itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from agent.errors import AgentError, Blame

# A body may break a rule in each of thousands of entries; nobody reads past the first few hundred.
MAX_FAULTS = 256
FAULTS_IN_MESSAGE = 10
SHOWN_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule: a dotted path (`ports.0.name`; `body` for the whole), a stable code, and texts for people.

    No text holds a value that may be a secret: names and numbers are shown, values of env, secrets and registry never.
    """

    field: str
    code: str
    message: str
    remedy: str


class SpecRefusedError(AgentError):
    """A job spec breaks at least one rule. `faults` holds all of them (at most MAX_FAULTS, then one that counts the rest)."""

    code: ClassVar[str] = "spec_refused"
    blame: ClassVar[Blame] = Blame.USER
    remedy: ClassVar[str] = "Correct every field that is named, then send it again."
    what: ClassVar[str] = "the job spec"

    def __init__(self, faults: Iterable[Fault]) -> None:
        every = tuple(faults)
        self.faults = every if len(every) <= MAX_FAULTS else (*every[:MAX_FAULTS], count_rest(every))
        told = "; ".join(f"{fault.field}: {fault.message}" for fault in every[:FAULTS_IN_MESSAGE])
        rest = f"; and {len(every) - FAULTS_IN_MESSAGE} more" if len(every) > FAULTS_IN_MESSAGE else ""
        super().__init__(f"{self.what} has {len(every)} fault(s): {told}{rest}")


class DeployRefusedError(SpecRefusedError):
    """A deploy breaks at least one rule: its request, its code, or what its file declares. `faults` holds all of them."""

    code: ClassVar[str] = "deploy_refused"
    what: ClassVar[str] = "the deploy"


def count_rest(every: tuple[Fault, ...]) -> Fault:
    hidden = len(every) - MAX_FAULTS
    return Fault(
        "body",
        "more_faults",
        f"has at least {hidden} more fault(s), not listed",
        "Correct those listed first.",
    )


def show(name: object) -> str:
    """Write a name that came from outside so that it is short, printable ASCII."""
    # Cut first: a name may be as long as the body.
    text = str(name)[: SHOWN_CHARACTERS + 1].encode("ascii", "backslashreplace").decode("ascii")
    printable = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
    if not printable:
        return '""'
    return printable if len(printable) <= SHOWN_CHARACTERS else printable[: SHOWN_CHARACTERS - 3] + "..."


def join_path(*parts: object) -> str:
    """Build the dotted path of a fault."""
    return ".".join(show(part) for part in parts)
