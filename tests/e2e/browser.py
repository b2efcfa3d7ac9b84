"""browser — a real Chromium without a window, steered by its own protocol over two pipes. Knows no agent."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

LATE_SECONDS = 90.0
LOOK_SECONDS = 0.05
QUIET = (
    "--headless=new",
    "--no-sandbox",  # root's browser has none; the pages are this test's own
    "--ignore-certificate-errors",  # so are its certificates
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
)


class Browser:
    """`prefix`: what it is started behind, so that it is in the engine's network."""

    def __init__(self, prefix: Sequence[str], profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4.
        script = f'exec chromium "$@" 3<&{to_read} 4>&{to_write} 2>"$LOG"'
        arguments = [*QUIET, f"--user-data-dir={profile}", "about:blank"]
        self.log = profile.with_suffix(".log")
        self._process = subprocess.Popen(
            [*prefix, "bash", "-c", script, "chromium", *arguments],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(profile), "LOG": str(self.log)},
        )
        os.close(to_read)
        os.close(to_write)
        self._number = 0
        self._replies: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []  # of the domains that a test enables
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read_all, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(AssertionError, OSError):
            self.call("Browser.close", seconds=5)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._write)
        self._reader.join(10)
        os.close(self._read)

    def call(
        self, method: str, session: str | None = None, seconds: float = LATE_SECONDS, **params: object
    ) -> dict[str, Any]:
        with self._came:
            self._number += 1
            number = self._number
            message = {"id": number, "method": method, "params": params}
            os.write(
                self._write,
                json.dumps(message if session is None else {**message, "sessionId": session}).encode()
                + b"\0",
            )
            assert self._came.wait_for(lambda: number in self._replies, seconds), (
                f"{method}: no answer; {self._tail()}"
            )
            reply = self._replies.pop(number)
        assert "error" not in reply, f"{method}: {reply['error']}"
        found: dict[str, Any] = reply["result"]
        return found

    def tab(self) -> "Tab":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Tab(self, str(session))

    def _read_all(self) -> None:
        buffer = b""
        while piece := os.read(self._read, 1 << 16):
            *whole, buffer = (buffer + piece).split(b"\0")
            with self._came:
                for message in map(json.loads, whole):
                    if "id" in message:
                        self._replies[message["id"]] = message
                    else:
                        self.events.append(message)
                self._came.notify_all()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "no log"


class Tab:
    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **params: object) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def heard(self, *methods: str) -> list[dict[str, Any]]:
        """What the tab has told of itself, of the domains that were enabled, in that order."""
        events = list(self._browser.events)
        own = [event for event in events if event.get("sessionId") == self._session]
        return [event["params"] for event in own if event["method"] in methods]

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """The value of an expression in the page, awaited where it is a promise."""
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str, seconds: float = LATE_SECONDS) -> Any:  # noqa: ANN401 - JSON
        """The first value that is true, whatever page is shown then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(AssertionError):  # the page was left while it was asked
                if value := self.evaluate(expression):
                    return value
            time.sleep(LOOK_SECONDS)
        shown = self.evaluate("location.href + ' ' + document.documentElement.outerHTML.slice(0, 2000)")
        raise AssertionError(f"not within {seconds:.0f} s: {expression}; shown is {shown}")

    def cookies(self) -> list[dict[str, Any]]:
        """All of the browser's, whatever page may see them."""
        found: list[dict[str, Any]] = self.call("Network.getAllCookies")["cookies"]
        return found


@contextmanager
def browsing(prefix: Sequence[str], folder: Path) -> Iterator[Browser]:
    """Skips where there is none: `make test` installs it."""
    if shutil.which("chromium") is None:
        pytest.skip("chromium is missing: scripts/ensure-browser installs it")
    with Browser(prefix, folder / "browser") as browser:
        yield browser
