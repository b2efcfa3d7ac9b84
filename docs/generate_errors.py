"""Writes docs/errors.md: why jobs do not succeed, from core/reasons, why a notification fails, from core/notify, why output files do
not leave, from core/upload_troubles, and what requests and commands are refused with.

Run it from the top of the repository: `python docs/generate_errors.py`. A test fails where the page is out of date.
"""
# ruff: noqa: INP001 - a script, run by its path

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import agent
from agent.core.notify import TROUBLES
from agent.core.reasons import CATALOGUE
from agent.core.upload_troubles import UPLOAD_TROUBLES
from agent.errors import AgentError

PAGE = Path(__file__).parent / "errors.md"

HEAD = """# Errors

Made by `docs/generate_errors.py`; do not edit by hand.

Each error has a stable `code`, says whose fault it is (`blame`: user, host or platform) and what to do next.

## Why a job did not succeed

The `reason` of a job or of an attempt. *Retried*: another attempt is made where `retry` allows one; the others are final.

| code | phase | blame | retried | what happened | what to do |
|---|---|---|---|---|---|
"""
REQUESTS = """
## Why a request or a command was refused, and what the agent itself complains of

| code | blame | what it is | what to do |
|---|---|---|---|
"""


NOTIFICATIONS = """
## Why a notification did not arrive

`notify.last_error` of a job.

| code | blame | what happened | what to do |
|---|---|---|---|
"""

UPLOADS = """
## Why output files did not leave

`upload` of a job, and of each of its files that failed.

| code | blame | what happened | what to do |
|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def render() -> str:
    """The whole page."""
    reasons = "".join(
        f"| `{code}` | {entry.phase} | {entry.blame} | {'yes' if entry.is_retryable else 'no'} "
        f"| {cell(entry.message)} | {cell(entry.remedy)} |\n"
        for code, entry in sorted(CATALOGUE.items())
    )
    errors = "".join(
        f"| `{error.code}` | {error.blame} | {cell(first_line(error))} | {cell(error.remedy)} |\n"
        for error in sorted(find_errors(), key=lambda error: (error.code, error.__qualname__))
    )
    troubles = "".join(
        f"| `{code}` | {words.blame} | {cell(words.message)} | {cell(words.remedy)} |\n"
        for code, words in sorted(TROUBLES.items())
    )
    uploads = "".join(
        f"| `{code}` | {words.blame} | {cell(words.message)} | {cell(words.remedy)} |\n"
        for code, words in sorted(UPLOAD_TROUBLES.items())
    )
    return HEAD + reasons + NOTIFICATIONS + troubles + UPLOADS + uploads + REQUESTS + errors


def find_errors() -> list[type[AgentError]]:
    """All errors of the agent that have a code, after every module was imported."""
    for module in pkgutil.walk_packages(agent.__path__, "agent."):
        # The SDK is imported by no agent code, and a main module runs when it is imported.
        if not module.name.startswith("agent.sdk") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = {error for error in descend(AgentError) if error.__module__.startswith("agent.")}
    return sorted((error for error in found if hasattr(error, "code")), key=lambda error: error.__qualname__)


def descend(error: type[AgentError]) -> Iterator[type[AgentError]]:
    for child in error.__subclasses__():
        yield child
        yield from descend(child)


def first_line(error: type[AgentError]) -> str:
    return (error.__doc__ or "").strip().split("\n")[0]


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
