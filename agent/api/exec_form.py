"""api/exec_form — the messages of an exec's WebSocket as values, and back. Pure; sends nothing. docs/api.md describes them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeGuard

from agent.api.body import parse_json
from agent.api.problems import BadRequestError, facts_of_error
from agent.core.exec import DEFAULT_SHELL, ExecOutput, ExecPlan, WindowSize
from agent.errors import AgentError
from agent.spec import Fault

MOST_WORDS, MOST_VARIABLES, MOST_CHARACTERS = 4096, 1024, 128 * 1024
# Of a terminal whose size was not told.
COLUMNS, ROWS = 80, 24
# What the kernel keeps of a terminal's size.
MOST_CELLS = 65_535
# Of what a client holds at once, where it says what it has taken. Less would make each line wait for its answer.
LEAST_WINDOW, MOST_WINDOW = 4096, 1 << 30

START_FIELDS = frozenset({"type", "command", "env", "user", "workdir", "tty", "columns", "rows", "window"})


@dataclass(frozen=True, slots=True)
class Start:
    """`window`: bytes of output that may be under way before the client says that it has taken some. None: as many as go."""

    plan: ExecPlan
    window: int | None


@dataclass(frozen=True, slots=True)
class Resize:
    size: WindowSize


@dataclass(frozen=True, slots=True)
class EndInput:
    pass


@dataclass(frozen=True, slots=True)
class Taken:
    size: int


Control = Resize | EndInput | Taken


def read_start(text: str) -> Start:
    """The first message. Raises BadJsonError, BadRequestError."""
    given = read_object(text)
    if given.get("type") != "start":
        refuse("type", "must be start in the first message")
    faults = [
        Fault(name[:64], "unknown_field", "is no field of start", f"There are: {', '.join(sorted(START_FIELDS))}.")
        for name in given.keys() - START_FIELDS
    ]  # fmt: skip
    fields = Fields(given, faults)
    command, environment = fields.words("command"), fields.pairs("env")
    has_terminal = fields.flag("tty")
    size = WindowSize(
        fields.number("columns", 1, MOST_CELLS) or COLUMNS, fields.number("rows", 1, MOST_CELLS) or ROWS
    )
    window = fields.number("window", LEAST_WINDOW, MOST_WINDOW)
    plan = ExecPlan(
        command=command or DEFAULT_SHELL,
        user=fields.text("user") or None,
        workdir=fields.text("workdir") or None,
        environment=environment,
        terminal=size if has_terminal else None,
    )
    if faults:
        raise BadRequestError(faults)
    return Start(plan, window)


def read_control(text: str) -> Control:
    """Any later message. Raises BadJsonError, BadRequestError."""
    given = read_object(text)
    faults: list[Fault] = []
    fields = Fields(given, faults)
    control: Control
    match given.get("type"):
        case "resize":
            columns, rows = fields.needed("columns", 1, MOST_CELLS), fields.needed("rows", 1, MOST_CELLS)
            control = Resize(WindowSize(columns, rows))
        case "end_input":
            control = EndInput()
        case "taken":
            control = Taken(fields.needed("bytes", 0, MOST_WINDOW))
        case _:
            refuse("type", "must be resize, end_input or taken")
    if faults:
        raise BadRequestError(faults)
    return control


def write_output(output: ExecOutput) -> bytes:
    """A binary message: the stream (1 stdout, 2 stderr), then what was written to it."""
    return bytes([output.stream]) + output.data


def write_started() -> str:
    return json.dumps({"type": "started"})


def write_exit(code: int) -> str:
    return json.dumps({"type": "exit", "code": code})


def write_error(error: AgentError) -> tuple[str, int]:
    """The message, and the close code that follows it: 4000 and the HTTP status."""
    status, facts = facts_of_error(error)
    faults = error.faults if isinstance(error, BadRequestError) else ()
    problem = {
        "type": "error",
        "status": status,
        "detail": str(error),
        **facts,
        "faults": [{"field": fault.field, "message": fault.message, "remedy": fault.remedy} for fault in faults],
    }  # fmt: skip
    return json.dumps(problem), 4000 + status


def read_object(text: str) -> Mapping[str, object]:
    given = parse_json(text.encode())
    if not isinstance(given, dict):
        refuse("type", "the message is no object")
    return given


def is_text(value: object) -> TypeGuard[str]:
    """One that a program can be given: the kernel ends texts at a NUL, and takes no half of a surrogate pair."""
    return (
        isinstance(value, str)
        and "\0" not in value
        and not any("\ud800" <= sign <= "\udfff" for sign in value)
    )


def is_name(value: object) -> bool:
    return is_text(value) and value != "" and "=" not in value


def refuse(field: str, message: str) -> NoReturn:
    raise BadRequestError([Fault(field, "bad_message", message, "See Exec in docs/api.md.")])


class Fields:
    """Reads what was given by name; what can't be read is a fault, and all are told at once."""

    def __init__(self, given: Mapping[str, object], faults: list[Fault]) -> None:
        self._given = given
        self._faults = faults

    def text(self, name: str) -> str:
        value = self._given.get(name)
        if value is None:
            return ""
        if is_text(value) and len(value) <= 4096:
            return value
        self._fault(name, "must be a text of at most 4096 characters")
        return ""

    def words(self, name: str) -> tuple[str, ...]:
        value = self._given.get(name)
        if value is None:
            return ()
        if isinstance(value, list) and len(value) <= MOST_WORDS:
            words = [word for word in value if is_text(word)]
            if len(words) == len(value) and sum(map(len, words)) <= MOST_CHARACTERS and all(words[:1]):
                return tuple(words)
        self._fault(
            name, f"must be a list of texts, at most {MOST_CHARACTERS} characters in all, a program first"
        )
        return ()

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        value = self._given.get(name)
        if value is None:
            return ()
        if isinstance(value, dict) and len(value) <= MOST_VARIABLES:
            pairs = [(key, text) for key, text in value.items() if is_text(text) and is_name(key)]
            if (
                len(pairs) == len(value)
                and sum(len(key) + len(text) for key, text in pairs) <= MOST_CHARACTERS
            ):
                return tuple(pairs)
        self._fault(name, f"must be names, without =, and texts, at most {MOST_CHARACTERS} characters in all")
        return ()

    def flag(self, name: str) -> bool:
        value = self._given.get(name, False)
        if isinstance(value, bool):
            return value
        self._fault(name, "must be true or false")
        return False

    def number(self, name: str, low: int, high: int) -> int | None:
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self._fault(name, f"must be a whole number from {low} to {high}")
        return None

    def needed(self, name: str, low: int, high: int) -> int:
        if self._given.get(name) is None:
            self._fault(name, "is missing")
        return self.number(name, low, high) or low

    def _fault(self, name: str, message: str) -> None:
        self._faults.append(Fault(name, "bad_message", message, "See Exec in docs/api.md."))
