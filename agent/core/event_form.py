"""core/event_form — one event and one moment as JSON, the same in the event stream and in notifications. Sends nothing."""

from datetime import UTC, datetime

from agent.core.job import Event


def show_event(event: Event) -> dict[str, object]:
    return {
        "seq": event.seq,
        "n": event.n,
        "job": event.job,
        "at": show_time(event.at),
        "type": event.type,
        "data": event.data,
    }


def show_time(at: float | None) -> str | None:
    """RFC 3339 in UTC, with milliseconds."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
