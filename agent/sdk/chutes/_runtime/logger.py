"""chutes/_runtime/logger — `self.logger`: a logging.Logger whose records become structured lines. Leaves other loggers alone."""

from __future__ import annotations

import logging

from chutes._runtime.lines import log_line, write_line
from chutes._runtime.texts import text_of

NAME = "chutes.job"

# Each record has these; whatever else is on one came by `extra`.
_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def job_logger() -> logging.Logger:
    logger = logging.getLogger(NAME)
    if not any(isinstance(handler, _LineHandler) for handler in logger.handlers):
        logger.addHandler(_LineHandler())
        logger.setLevel(logging.INFO)
        # An author's basicConfig() would show each line twice.
        logger.propagate = False
    # An author's dictConfig() or fileConfig() disables every logger that it doesn't name.
    logger.disabled = False
    return logger


class _LineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = log_line(
                record.levelname.lower(), record.getMessage(), self._fields(record), record.created
            )
        except Exception:  # noqa: BLE001 — a message that can't be formatted must not end the job; logging tells where it is
            self.handleError(record)
            return
        write_line(line)

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        fields = {name: text_of(value) for name, value in vars(record).items() if name not in _ORDINARY}
        if record.name != NAME:
            fields["logger"] = record.name
        if record.exc_info:
            fields["exc"] = logging.Formatter().formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return fields
