"""core/finish — how a function ended, as its launcher says it and as it is kept: the line before the result. Pure; reads no file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from agent.core.function import FaultKind, Report, ReportStatus

MOST_RESULT_BYTES = 8 << 20
MOST_TYPE_CHARACTERS = 200
MOST_MESSAGE_CHARACTERS = 4_000
MOST_TRACEBACK_CHARACTERS = 32_000
MOST_NOTE_CHARACTERS = 1_000


class BadFinishError(ValueError):
    """What a job sent does not say how its function ended."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why it failed. `status_code` and `detail`: of an HTTPException."""

    kind: FaultKind
    type: str
    message: str
    traceback: str
    status_code: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """`note`: what is to be said of the result. `fault` None: it succeeded."""

    status: ReportStatus
    note: str | None = None
    fault: Fault | None = None

    @property
    def report(self) -> Report:
        """What of it the row keeps."""
        if self.fault is None:
            return Report(self.status)
        return Report(self.status, self.fault.kind, self.fault.type, self.fault.message)


def read_finish(fields: Mapping[str, object]) -> tuple[Finish, int]:
    """How it ended, and how many bytes of a result follow. Raises BadFinishError."""
    size = fields.get("bytes")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MOST_RESULT_BYTES:
        raise BadFinishError(f"bytes must be from 0 to {MOST_RESULT_BYTES}")
    status = fields.get("status")
    if status == ReportStatus.SUCCEEDED:
        return Finish(ReportStatus.SUCCEEDED, _text(fields, "note", MOST_NOTE_CHARACTERS) or None), size
    if status != ReportStatus.FAILED or size:
        raise BadFinishError("status must be succeeded, or failed without a result")
    error = fields.get("error")
    return Finish(ReportStatus.FAILED, None, _read_fault(error if isinstance(error, dict) else {})), 0


def _read_fault(error: Mapping[str, object]) -> Fault:
    """Of a job that says it badly all that can be understood is kept: it failed in any case."""
    kind, status_code = error.get("kind"), error.get("status_code")
    is_code = isinstance(status_code, int) and not isinstance(status_code, bool) and 0 <= status_code < 1000
    return Fault(
        FaultKind(kind) if isinstance(kind, str) and kind in set(FaultKind) else FaultKind.RAISED,
        _text(error, "type", MOST_TYPE_CHARACTERS),
        _text(error, "message", MOST_MESSAGE_CHARACTERS),
        _text(error, "traceback", MOST_TRACEBACK_CHARACTERS),
        status_code if isinstance(status_code, int) and is_code else None,
        _text(error, "detail", MOST_MESSAGE_CHARACTERS) or None,
    )


def _text(fields: Mapping[str, object], name: str, most: int) -> str:
    value = fields.get(name)
    return value[:most].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def dump_header(finish: Finish) -> bytes:
    """One line; `load_header` reads it."""
    return json.dumps(asdict(finish), ensure_ascii=False, separators=(",", ":")).encode()


def load_header(line: bytes) -> Finish | None:
    """None: it is damaged."""
    try:
        header = json.loads(line)
        fault = header["fault"]
        return Finish(
            ReportStatus(header["status"]),
            header["note"],
            None if fault is None else Fault(**{**fault, "kind": FaultKind(fault["kind"])}),
        )
    except (ValueError, KeyError, TypeError):
        return None
