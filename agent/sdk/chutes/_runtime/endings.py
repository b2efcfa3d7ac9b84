"""chutes/_runtime/endings — how a run ended, as `finish` tells it, and with which exit code the process ends. Tells nobody."""

from __future__ import annotations

from typing import Any, NamedTuple

from chutes._runtime.failures import MAX_TRACEBACK_CHARACTERS, failure, is_permanent
from chutes._runtime.results import ResultTooLargeError, result_of
from chutes._runtime.texts import shorten, text_of


class Ending(NamedTuple):
    status: str
    result: bytes
    note: str | None
    error: dict[str, Any] | None
    exit_code: int

    @property
    def fields(self) -> dict[str, Any]:
        """Of `finish`; the result goes behind it."""
        return {"status": self.status, "bytes": len(self.result), "note": self.note, "error": self.error}


class StoppedEarlyError(Exception):
    def __init__(self) -> None:
        super().__init__("the job was stopped before its function began")


class StillRunningError(Exception):
    def __init__(self) -> None:
        super().__init__(
            "the function did not end within the grace of the stop; the traceback is where it was"
        )


def still_running(stack: str, error: Exception | None = None) -> Ending:
    """At the end of a stop's grace, or by `error`. `stack`: where it is."""
    ending = failed("cancelled", StillRunningError()) if error is None else failed("raised", error)
    return ending._replace(
        error={**(ending.error or {}), "traceback": shorten(stack, MAX_TRACEBACK_CHARACTERS)}
    )


def returned(value: Any) -> Ending:
    try:
        result = result_of(value)
    except ResultTooLargeError as too_large:
        return failed("result_too_large", too_large)
    return Ending("succeeded", result.json, result.note, None, 0)


def failed(kind: str, error: BaseException, exit_code: int = 1) -> Ending:
    return Ending("failed", b"", None, failure(kind, error), exit_code)


def raised(error: BaseException, kind: str = "raised") -> Ending:
    """`kind`: what it is if it is nothing more certain."""
    if isinstance(error, SystemExit) and kind == "raised":
        return _exited(error)
    return failed("permanent" if is_permanent(error) else kind, error)


def _exited(error: SystemExit) -> Ending:
    code = error.code
    if code is None or code == 0:
        return returned(None)
    ending = failed("exit", error, _exit_code(code))
    said = "with a text" if not isinstance(code, int) else f"with {code}"
    message = f"the function called sys.exit() {said}" + (
        "" if isinstance(code, int) else f": {text_of(code)}"
    )
    return ending._replace(error={**(ending.error or {}), "message": message[:4000]})


def _exit_code(code: object) -> int:
    # As Python and the kernel do it; but what is no success must not end as one, as 256 would.
    return (code & 0xFF or 1) if isinstance(code, int) else 1
