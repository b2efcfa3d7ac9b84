"""cli/payload — what a function job or a cord is given, as it is written on the command line: JSON itself, @FILE, or - for stdin. Judges no field."""

import json
from typing import Any

from agent.cli.refusals import BadArgumentError
from agent.cli.specfile import read_json


def read_payload(written: str | None) -> dict[str, Any]:
    """None is an empty one. Raises BadArgumentError."""
    if written is None:
        return {}
    payload = read_written(written, "--payload")
    if not isinstance(payload, dict):
        raise BadArgumentError(
            f'--payload is a JSON object, as in {{"epochs": 3}}, and this is {json.dumps(payload)[:60]}'
        )
    return payload


def read_written(written: str, option: str) -> object:
    """Raises BadArgumentError."""
    if written == "-" or written[:1] == "@":
        return read_json(written.removeprefix("@"))
    try:
        return json.loads(written)
    except (ValueError, RecursionError) as unread:
        raise BadArgumentError(
            f"{option} {written[:60]!a} is no JSON: {unread}. A file is written as @FILE, stdin as -"
        ) from unread
