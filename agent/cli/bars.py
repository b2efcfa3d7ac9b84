"""cli/bars — progress on stderr: a bar on a terminal, a line at the beginning elsewhere. Measures nothing itself."""

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from agent.cli.screen import Form, Screen
from agent.cli.show.words import fit

NAME_WIDTH = 28
# A thousand small files a second must not be a thousand drawings.
REFRESH_SECONDS = 0.1


class Bar:
    """Use it as a context. It is drawn when told something, never by a thread of its own, and is gone at the end."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.is_drawn = screen.form is Form.PEOPLE and screen.err.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(compact=True),
            console=screen.err,
            transient=True,
            auto_refresh=False,
            disable=not self.is_drawn,
        )
        self._task = self._progress.add_task("", total=None)
        self._said = ""
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, what: str, done: int | None = None, total: int | None = None) -> None:
        """What goes on; `done` and `total` in bytes, where they are known."""
        if not self.is_drawn:
            self._say_once(what)
            return
        self._progress.update(
            self._task, description=fit(what, NAME_WIDTH), completed=done or 0, total=total or None
        )
        self._refresh()

    def advance(self, count: int) -> None:
        self._progress.advance(self._task, count)
        self._refresh()

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._drawn_at >= REFRESH_SECONDS:
            self._drawn_at = now
            self._progress.refresh()

    def _say_once(self, what: str) -> None:
        if what != self._said:
            self._said = what
            self._screen.say(what)
