"""chutes/errors — the errors that authors raise or meet. Decides nothing about what they lead to."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence


class HTTPException(Exception):  # noqa: N818 — the name that files written for web frameworks use
    """How a cord says no. In a job it fails the attempt, and the status and the detail are shown with the job."""

    def __init__(
        self, status_code: int, detail: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status_code = status_code
        self.detail = detail
        self.headers = dict(headers or {})
        # All of them, so that it survives a pickle, as the one on the way out of a process pool.
        super().__init__(status_code, detail, headers)

    def __str__(self) -> str:
        return str(self.status_code) if self.detail is None else f"{self.status_code}: {self.detail}"


class PermanentError(Exception):
    """Raise it where another try would fail as well: the job is not retried, whatever its retry_count."""


class RetriableError(Exception):
    """Raise it where another try may help. Any other exception but PermanentError is retried as well: this one says so."""


class PlatformError(Exception):
    """The platform refused a call, as start_job of an unknown name. `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class PayloadError(Exception):
    """A payload does not fit the function's parameters. The text has the signature that was expected."""


class LoadError(Exception):
    """The file, or the chute in it, is not there or is something else."""


class Fault(NamedTuple):
    """One broken rule: where (`ports[0].port`), what is wrong, and what to write instead."""

    field: str
    message: str
    remedy: str


class RegistrationError(ValueError):
    """What was decorated breaks at least one rule. `faults` holds all of them."""

    def __init__(self, kind: str, function: str, faults: Sequence[Fault]) -> None:
        self.kind = kind
        self.function = function
        self.faults = tuple(faults)
        super().__init__(kind, function, self.faults)

    def __str__(self) -> str:
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        told = "".join(f"\n  {fault.field}: {fault.message}. {fault.remedy}" for fault in self.faults)
        named = f"{self.kind} {self.function!r:.80}" if self.function else self.kind
        return f"{named} has {count}:{told}"
