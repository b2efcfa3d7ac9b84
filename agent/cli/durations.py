"""cli/durations — spans of time as people write them: 90s, 1h30m, 90d. The forms are the spec's own."""

from agent.cli.refusals import BadArgumentError


def read_duration(option: str, written: str) -> int:
    """Whole seconds. Raises BadArgumentError."""
    from agent.spec.units import parse_duration  # noqa: PLC0415 - the spec takes long to import, and few options need it

    try:
        return parse_duration(written)
    except ValueError as unread:
        raise BadArgumentError(f"{option} {written!a} can't be read: {unread}") from unread


def read_since(written: str, now: float) -> str:
    """A span before now (`10m`) as seconds since the epoch; what has no unit is a time that the API reads itself."""
    if written[:1].isdigit() and written[-1:] in {"d", "h", "m", "s"}:
        return f"{now - read_duration('--since', written):.3f}"
    return written
