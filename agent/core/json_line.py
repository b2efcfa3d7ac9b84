"""core/json_line — JSON as it stands in a line: values written on one, and what somebody else wrote put in as it is. Pure; reads none."""

import json
from collections.abc import Mapping


def dump_line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def on_one_line(text: bytes) -> bytes:
    """JSON, in which line ends are white space and nothing else. One copy of it at a time, and none where it has none."""
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def dump_with(fields: Mapping[str, object], name: str, written: bytes) -> bytes:
    """An object whose last field is JSON that was written elsewhere: to read it here would cost the loop what it costs to read it there."""
    return b"".join((dump_line(fields)[:-1], f',"{name}":'.encode(), on_one_line(written), b"}"))
