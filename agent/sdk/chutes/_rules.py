"""chutes/_rules — what a decorated function may ask for: every fault of it at once. The host checks all of it again."""

from __future__ import annotations


def check_job() -> None: ...


def check_cord() -> None: ...
