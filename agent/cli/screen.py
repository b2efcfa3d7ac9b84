"""cli/screen — the two outputs of a command: its answer on stdout, what is said about it on stderr. Knows no command."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO

from rich.console import Console, RenderableType
from rich.text import Text

from agent.cli.refusals import Json, Refusal, document_of
from agent.cli.show.problems import show_problem
from agent.cli.show.words import clean


class Form(Enum):
    """For whom an answer is written."""

    PEOPLE = "people"
    JSON = "json"


def stdout_console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def stderr_console() -> Console:
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


@dataclass(slots=True)
class Screen:
    """rich decides on colours: only on a terminal, and not where NO_COLOR is set.

    `raw_out` and `raw_err` take the bytes of logs, which are not ours to re-encode.
    """

    form: Form
    out: Console = field(default_factory=stdout_console)
    err: Console = field(default_factory=stderr_console)
    raw_out: BinaryIO = field(default_factory=lambda: sys.stdout.buffer)
    raw_err: BinaryIO = field(default_factory=lambda: sys.stderr.buffer)

    def answer(self, document: object, draw: Callable[[], RenderableType]) -> None:
        """The answer to a command: the document for scripts, what `draw` makes of it for people."""
        if self.form is Form.JSON:
            self.write_json(document)
        else:
            self.out.print(draw())

    def answer_line(self, document: object, line: str) -> None:
        """An answer that for people is one line, whole however long it is."""
        if self.form is Form.JSON:
            self.write_json(document)
        else:
            self.out.print(Text(clean(line)), soft_wrap=True)

    def answer_text(self, document: object, text: str) -> None:
        """An answer that for people is a text as it stands, of many lines."""
        if self.form is Form.JSON:
            self.write_json(document)
        else:
            self.out.file.write(text)

    def answer_json(self, document: object) -> None:
        """An answer that only scripts get: people were told in other ways."""
        if self.form is Form.JSON:
            self.write_json(document)

    def write_json(self, document: object) -> None:
        # Not by rich, which would break long lines.
        self.out.file.write(json.dumps(document) + "\n")
        self.out.file.flush()

    def say(self, text: str) -> None:
        """One line beside the answer; never part of it. Not for scripts, which asked for nothing but the answer."""
        if self.form is Form.PEOPLE:
            self.note(text)

    def tell(self, text: Text) -> None:
        """Some lines of ours beside the answer, as `say`."""
        if self.form is Form.PEOPLE:
            self.err.print(text)

    def note(self, text: str) -> None:
        """One dim line on stderr, in either form."""
        self.err.print(Text(clean(text), style="dim"), soft_wrap=True)

    def refuse(self, error: Refusal) -> None:
        """An error, on stderr in either form, so that stdout holds an answer or nothing."""
        self.refuse_document(document_of(error))

    def refuse_document(self, document: Json) -> None:
        """A problem document, of the API or in its form."""
        if self.form is Form.JSON:
            self.err.file.write(json.dumps(document) + "\n")
            self.err.file.flush()
        else:
            # In a file a line stays one line, to be searched for.
            self.err.print(show_problem(document), soft_wrap=not self.err.is_terminal)
