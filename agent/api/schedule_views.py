"""api/schedule_views — schedules as the JSON that clients rely on. Reads no store."""

from agent.api.views import Json
from agent.core.event_form import show_time
from agent.core.schedule import OfFunction, Schedule, ScheduleTrouble, Started, next_minutes
from agent.spec import CronUnreadableError

SHOWN_NEXT = 5


def show_schedule(schedule: Schedule, now: float) -> Json:
    """`now` in UTC seconds."""
    what, trouble = schedule.what, schedule.trouble
    try:
        following = next_minutes(schedule, now, SHOWN_NEXT)
    except CronUnreadableError as error:
        # A damaged row: whoever lists his schedules sees the others all the same.
        following = ()
        trouble = ScheduleTrouble(error.code, str(error), error.remedy, schedule.since)
    is_function = isinstance(what, OfFunction)
    return {
        "id": schedule.id,
        "name": schedule.name,
        "owner": schedule.owner,
        "kind": "function" if is_function else "container",
        "chute": what.chute if isinstance(what, OfFunction) else None,
        "function": what.function if isinstance(what, OfFunction) else None,
        "cron": schedule.cron,
        "catch_up": schedule.catch_up,
        "paused": schedule.paused,
        "next": [show_time(minute) for minute in following],
        "last": show_started(schedule.last),
        "fired": schedule.fired,
        "skipped": schedule.skipped,
        "missed": schedule.missed,
        "trouble": show_trouble(trouble),
        "created_at": show_time(schedule.created_at),
        "spec": None if isinstance(what, OfFunction) else what.spec,
    }


def show_started(last: Started | None) -> Json | None:
    if last is None:
        return None
    return {"due": show_time(last.due), "job": last.job, "at": show_time(last.at)}


def show_trouble(trouble: ScheduleTrouble | None) -> Json | None:
    if trouble is None:
        return None
    return {
        "code": trouble.code,
        "message": trouble.message,
        "remedy": trouble.remedy,
        "at": show_time(trouble.at),
    }
