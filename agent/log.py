"""log — one set-up for our log lines and those of libraries, and the redaction that each passes. Decides nothing of what is logged."""

import contextlib
import json
import logging
import re
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Literal, TextIO
from urllib.parse import quote, quote_plus

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MARK = "***"
# Hiding each "1" or "on" would make a log unreadable and tell by its holes what the secret is.
# Such a value is hidden only where it stands alone.
SHORTEST_HIDDEN_INSIDE_TEXT = 4
# A cycle, or a structure that nobody reads in a log line anyway.
DEEPEST_FIELD = 8
# These log each request, some with its query string, at a level that an operator does turn on.
CHATTY_LIBRARIES = ("aiohttp.access", "asyncio", "docker", "urllib3")

SECRET_NAME = re.compile(
    r"secret|passw(?:or)?d|token|authorization|cookie|api[-_]?key|private[-_]?key", re.IGNORECASE
)

# Each pattern keeps its groups "before" and "after". Repeats are bounded: a job chooses some of the text that is logged.
PEM = r"(?P<before>)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,20}-----.*?(?:-----END [A-Z0-9 ]{0,60}-----|\Z)(?P<after>)"
# As a dictionary's repr, as JSON or on a line. The whole value, since "Basic …" and its kin have two words.
HEADER = (
    r"(?P<before>\b(?:(?:proxy-)?authorization|x-registry-(?:auth|config)|(?:set-)?cookie|x-api-key)"
    r"\\?[\"']?\s{0,4}[:=,]\s{0,4}\\?[\"']?)[^\"'\\\r\n]+(?P<after>)"
)
BEARER = r"(?P<before>\bbearer\s{1,4})[^\s\"',;]{6,}(?P<after>)"
USER_OF_URL = r"(?P<before>\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@\"'<>]{1,500}(?P<after>@)"
# password=…, "token": "…"
NAMED = (
    r"(?P<before>\b[\w-]{0,40}(?:secret|passw(?:or)?d|token)[\w-]{0,40}\\?[\"']?\s{0,4}[:=]\s{0,4}\\?[\"']?)"
    r"[^\s\"'\\,;&}]+(?P<after>)"
)
# The query of a path without a host, as in an access log.
QUERY_OF_PATH = (
    r"(?P<before>[?&](?:x-amz-[\w-]{1,40}|x-goog-[\w-]{1,40}|sig|sign|signature|key|code|auth|credential|policy)=)"
    r"[^&\s\"'<>#]+(?P<after>)"
)
PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (PEM, HEADER, BEARER, USER_OF_URL, NAMED, QUERY_OF_PATH)
)
# All query values of a full URL: which of them opens it is the storage's own business (SAS, V4, CloudFront, …).
URL_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s?\"'<>]{1,2000}\?)([^\s\"'<>#]+)", re.IGNORECASE)
QUERY_VALUE = re.compile(r"=[^&;]*")
# Each pattern above needs one of these. Most fields have none, and a search for them is far cheaper than all patterns.
TELLTALE = re.compile(r"[\s:=,]")


class Redactor:
    """What must not be in a log line: by the look of it, by its field's name, and the secrets that were added.

    `add` and `remove` may be called from any thread; a secret added twice stays until it is removed twice.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._forms: dict[str, frozenset[str]] = {}
        self._inside: tuple[str, ...] | None = ()  # None: to be put in order before the next line
        # The same thread may come back: what is collected in the middle may log.
        self._lock = threading.RLock()

    def add(self, value: str) -> None:
        """Hide `value` from now on, in each form that it has in a line: as it is, in JSON, in a repr, in a URL."""
        with self._lock:
            self._counts[value] += 1
            if self._counts[value] == 1:
                self._forms[value] = _forms_of(value)
                self._inside = None

    def remove(self, value: str) -> None:
        """Forget a secret whose job is gone. One that is not there is no error."""
        with self._lock:
            if self._counts[value] > 1:
                self._counts[value] -= 1
            elif self._forms.pop(value, None) is not None:
                del self._counts[value]
                self._inside = None

    def _in_order(self) -> tuple[str, ...]:
        """The longest first: one may be a part of another. Once for all that were added since the last line: jobs have many."""
        with self._lock:
            if self._inside is None:
                forms = frozenset[str]().union(*self._forms.values())
                self._inside = tuple(sorted(forms, key=lambda form: (-len(form), form)))
            return self._inside

    def hide_secrets(self, text: str) -> str:
        """Hide the secrets that were added."""
        if text in self._counts:
            return MARK
        for secret in self._in_order():
            # Again, since what stood around one may make up another; each turn is shorter, so this ends.
            while secret in text:
                text = text.replace(secret, MARK)
        return text

    def hide(self, text: str) -> str:
        """Hide the secrets that were added, and what looks like one."""
        text = self.hide_secrets(text)
        if TELLTALE.search(text) is None:
            return text
        text = URL_QUERY.sub(lambda url: url[1] + QUERY_VALUE.sub(f"={MARK}", url[2]), text)
        for pattern in PATTERNS:
            text = pattern.sub(rf"\g<before>{MARK}\g<after>", text)
        return text

    def hide_field(self, name: str, value: object) -> object:
        """Hide a field's whole value if its name says so, else what is secret within it, at any depth."""
        if SECRET_NAME.search(name) and value is not None and not isinstance(value, bool):
            return MARK
        return self._hide_within(value, 0)

    def _hide_within(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            hidden = self.hide_secrets(str(value))
            return value if hidden == str(value) else hidden
        if isinstance(value, str):
            return self.hide(str(value))
        if depth < DEEPEST_FIELD and isinstance(value, Mapping):
            return {
                self.hide(str(key)): MARK
                if SECRET_NAME.search(str(key))
                else self._hide_within(entry, depth + 1)
                for key, entry in value.items()
            }
        if depth < DEEPEST_FIELD and isinstance(value, list | tuple | set | frozenset):
            return [self._hide_within(entry, depth + 1) for entry in value]
        return self.hide(str(value))


def configure(level: str, layout: Literal["console", "json"], stream: TextIO | None = None) -> Redactor:
    """Send structlog's lines and those of the standard library to stderr (or `stream`), one set-up for both.

    `level` is a name such as "info". Returns the redactor that all lines pass; add to it what a job's secrets are.
    May be called again: the last call counts.
    """
    redactor, stream = Redactor(), stream or sys.stderr
    handler = _RedactedHandler(stream, redactor)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                _redact_with(redactor),
                *_render(layout, stream),
            ],
            foreign_pre_chain=_stamp(),
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_stamp(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=_Logger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # What is cached hands its lines to the standard library, whose handler is replaced by each call of this: none goes
        # round the redaction.
        cache_logger_on_first_use=True,
    )
    logging.getLogger().handlers[:] = [handler]
    for library in CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    change_level(level)
    return redactor


def change_level(level: str) -> None:
    """Change the level while running."""
    logging.getLogger().setLevel(level.upper())


def _forms_of(secret: str) -> frozenset[str]:
    """Every form in which a secret may stand in a rendered line."""
    if len(secret) < SHORTEST_HIDDEN_INSIDE_TEXT:
        return frozenset()
    forms = {
        secret,
        repr(secret)[1:-1],
        quote(secret, "", errors="replace"),
        quote_plus(secret, errors="replace"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    }
    stripped = secret.strip("\r\n")
    return frozenset(forms | {stripped} if len(stripped) >= SHORTEST_HIDDEN_INSIDE_TEXT else forms)


def _stamp() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _render(layout: Literal["console", "json"], stream: TextIO) -> list[Processor]:
    if layout == "json":
        return [structlog.processors.JSONRenderer(ensure_ascii=False)]
    # Plain tracebacks: the pretty ones print local variables, secrets among them.
    plain = structlog.dev.plain_traceback
    return [
        _escape_controls,
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain),
    ]


def _redact_with(redactor: Redactor) -> Processor:
    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {
            redactor.hide(str(name)): redactor.hide_field(str(name), value) for name, value in event.items()
        }

    return redact


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep text that others chose from moving the terminal's cursor or forging a line. JSON escapes by itself."""
    return {name: _escape(name, value) for name, value in event.items()}


def _escape(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    kept = "\n\t" if name in {"exception", "stack"} else "\t"
    return "".join(sign if sign.isprintable() or sign in kept else repr(sign)[1:-1] for sign in value)


class _Logger(structlog.stdlib.BoundLogger):
    """structlog builds a line before it asks whether anybody wants it: too dear for the many debug lines of each job."""

    def debug(self, event: str | None = None, *args: object, **fields: object) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            super().debug(event, *args, **fields)


class _RedactedHandler(logging.StreamHandler[TextIO]):
    """Writes lines; the last look at each, when it is already rendered, is for the secrets that were added."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        super().__init__(stream)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.hide_secrets(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Tell that a line was lost. The library's own way prints the arguments of that line, unredacted."""
        kind = sys.exc_info()[0]
        with contextlib.suppress(OSError, ValueError):  # nobody is left to tell
            self.stream.write(
                f"log.line-lost logger={record.name} error={kind.__name__ if kind else 'unknown'}\n"
            )
