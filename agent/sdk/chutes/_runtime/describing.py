"""chutes/_runtime/describing — what a chute holds, as a result. Runs none of its functions."""

from __future__ import annotations

from chutes._loading import load_noting
from chutes._manifest import describe
from chutes._runtime.endings import Ending, failed, returned


def described(file: str, attribute: str) -> Ending:
    try:
        return returned(describe(load_noting(file, attribute), attribute))
    except BaseException as error:  # noqa: BLE001 — the author's file may raise anything, SystemExit included
        return failed("import", error)
