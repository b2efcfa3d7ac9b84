"""chutes/_runtime/results — what a function returned, as strict JSON or as its picture. Sends nothing."""

from __future__ import annotations

from json import dumps
from typing import Any, NamedTuple

from chutes._runtime.texts import name_of, picture_of, shorten, text_of

MAX_RESULT_BYTES = 8 << 20
_MAX_PICTURE_CHARACTERS = 64 << 10


class Result(NamedTuple):
    json: bytes
    note: str | None


class ResultTooLargeError(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(
            f"the result has {size} bytes as JSON, and {MAX_RESULT_BYTES} are the most: "
            "write it to a file in the output folder, and return the file's name"
        )


def result_of(value: Any) -> Result:
    """Raises ResultTooLargeError. NaN, infinities and halves of surrogate pairs are no JSON."""
    try:
        json = dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except BaseException as why:  # noqa: BLE001 — a mapping of the author's making may raise anything
        note = f"the returned {name_of(value)} is no JSON ({shorten(text_of(why), 200)}): this is its repr()"
        picture = shorten(picture_of(value), _MAX_PICTURE_CHARACTERS)
        return Result(dumps(picture, ensure_ascii=False).encode(), note)
    if len(json) > MAX_RESULT_BYTES:
        raise ResultTooLargeError(len(json))
    return Result(json, None)
