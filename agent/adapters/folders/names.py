"""adapters/folders/names — names as bytes on disk and as text that travels. Pure: opens nothing."""

import os
import re
import unicodedata

# A job's quota: the one file of this name in its folder.
IMAGE = "q.img"
# What object stores take as a key; three times that, percent-encoded, still fits into a request line.
MAX_PATH_BYTES = 1024
MAX_DEPTH = 64
_ENCODED = re.compile(rb"%([0-9A-F]{2})")
_NOT_NAMES = frozenset({b"", b".", b".."})
_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PART = ".part"
_HALF_MADE = re.compile(rf"{_JOB_ID.pattern}\.[0-9a-z]+")


def to_text(path: bytes) -> str:
    """A path as it travels: UTF-8; `%`, control characters and bytes that are no UTF-8 as `%XX`. `to_bytes` turns it back.

    Control characters are legal in names, and break terminals, headers and line-wise readers.
    """
    text = path.decode("utf-8", "surrogateescape")
    # Almost every path is as it travels: a tenth of the time for lists of many.
    return text if "%" not in text and text.isprintable() else "".join(map(_as_text, text))


def _as_text(character: str) -> str:
    # Surrogates stand for the bytes that are no UTF-8: strict decoding makes none, so they can't be the job's own.
    if character == "%" or unicodedata.category(character) in ("Cc", "Cs"):
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
    return character


def to_bytes(path: str) -> bytes | None:
    """The path on disk. None: no listing can hold it (absolute, `..`, too long, too deep, or written in another way)."""
    try:
        raw = _ENCODED.sub(lambda match: bytes.fromhex(match[1].decode()), path.encode())
    except UnicodeEncodeError:
        return None
    names = raw.split(b"/")
    if (
        b"\0" in raw
        or not _NOT_NAMES.isdisjoint(names)
        or len(names) > MAX_DEPTH
        or len(raw) > MAX_PATH_BYTES
    ):
        return None
    # One file, one path: `%2e%2e`, `%2F` or an encoded letter are not how a listing writes anything.
    return raw if to_text(raw) == path else None


def is_job_id(name: str) -> bool:
    """Whether `name` is a UUID as the agent writes it."""
    return _JOB_ID.fullmatch(name) is not None


def is_half_made(name: str) -> bool:
    """Whether `name` is a job's folder that a crash left half made or half removed."""
    return _HALF_MADE.fullmatch(name) is not None


def job_folder(job_id: str) -> str:
    """The name of a job's folder. Raises ValueError: ids are checked where they enter, this only guards the disk."""
    if not is_job_id(job_id):
        raise ValueError(f"not a job id: {job_id!r}")
    return job_id


def version_folder(version_id: str) -> str:
    """The name of the folder of a chute's version. Raises ValueError as `job_folder` does."""
    return job_folder(version_id)


def part_of(name: str) -> str:
    """Under which a file is written until it is whole."""
    return f"{name}{_PART}"


def whole_of(name: str) -> str:
    """Of a part the name that it is to have; of any other file its own."""
    return name.removesuffix(_PART)


def attempt_log(attempt: int) -> str:
    return f"log.{attempt:d}"


def secret_file(name: str) -> str:
    """A secret's name as that of a file. Raises ValueError as `job_folder` does."""
    if os.fsencode(name) in _NOT_NAMES or "/" in name or "\0" in name:
        raise ValueError(f"not a file name: {name!r}")
    return name
