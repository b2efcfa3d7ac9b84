"""chutes/_runtime/texts — texts of an author's making, brought into a form that can be sent. Never raises, whatever the object does."""

from __future__ import annotations

from typing import Any

_NAME_CHARACTERS = 200


def clean(text: str) -> str:
    """Lone surrogates are no text anywhere else: their escapes are."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


def shorten(text: str, longest: int) -> str:
    """The beginning and the end of it, and in between how much was cut."""
    if len(text) <= longest:
        return text
    # The note has at most 40 characters.
    kept = (longest - 40) // 2
    return f"{text[:kept]}\n… {len(text) - 2 * kept} characters cut …\n{text[len(text) - kept :]}"


def text_of(value: Any) -> str:
    """As str() does. An exception may have a __str__ that raises, even SystemExit."""
    try:
        return clean(str(value))
    except BaseException as failure:  # noqa: BLE001 — it's the author's code, and the text is wanted all the same
        return f"<{name_of(value)} whose str() raised {name_of(failure)}>"


def picture_of(value: Any) -> str:
    """As repr() does. Never of a value whose picture is much larger than itself."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value[:4096])
    try:
        return clean(repr(value))
    except BaseException as failure:  # noqa: BLE001 — as above
        return f"<{name_of(value)} whose repr() raised {name_of(failure)}>"


def name_of(value: Any) -> str:
    """The name of its class, which a metaclass can't change. As long as a name is."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return clean(name[:_NAME_CHARACTERS])
