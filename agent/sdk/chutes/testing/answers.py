"""chutes/testing/answers — a returned value as the JSON that a job's result is. Keeps nothing."""

from __future__ import annotations

import json
from typing import Any

MAX_RESULT_BYTES = 8 << 20


class ResultTooLargeError(Exception):
    """The job's work is done, and its result is more than a platform keeps. A file among the outputs may be of any size."""


def as_json(value: Any) -> tuple[Any, str | None]:
    """The value after a way through JSON, and a note where it became its repr. Raises ResultTooLargeError."""
    text, note = encoded(value)
    size = len(text)  # all of it is ASCII
    if size > MAX_RESULT_BYTES:
        raise ResultTooLargeError(
            f"the result has {size} bytes as JSON, and {MAX_RESULT_BYTES} are the most: write it to output_dir"
        )
    return json.loads(text), note


def encoded(value: Any) -> tuple[str, str | None]:
    try:
        return json.dumps(value, allow_nan=False), None
    except Exception as no_json:  # noqa: BLE001 — classes of the author's own may raise anything
        return json.dumps(repr_of(value)), f"the result is no JSON ({no_json}): this is its repr"


def repr_of(value: Any) -> str:
    try:
        return repr(value)
    except Exception as broken:  # noqa: BLE001 — as above
        return f"<a {type(value).__name__} whose repr raised {type(broken).__name__}>"
