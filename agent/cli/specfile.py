"""cli/specfile — JSON that a user names on the command line: a file, or - for stdin. Judges nothing of it."""

import json
import sys

from agent.cli.refusals import BadArgumentError


def read_json(source: str) -> object:
    """Raises BadArgumentError."""
    try:
        if source == "-":
            return json.load(sys.stdin.buffer)
        with open(source, "rb") as file:  # noqa: PTH123 - as stdin is: a file that is read once
            return json.load(file)
    except OSError as error:
        raise BadArgumentError(f"{source} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadArgumentError(f"{'stdin' if source == '-' else source} is no JSON: {error}") from error
