"""api/schedule_schemas — what requests and answers about schedules look like, as JSON schema. Checks nothing: `spec` and `jobs/schedules` do."""

from agent.api.schema_words import (
    ANY_OBJECT_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    WHOLE,
    array_of,
    everything,
    one_of,
    or_null,
    page_of,
    ref,
)
from agent.api.views import Json

SWITCH: Json = {"type": "boolean"}
CRON: Json = {**TEXT, "description": "five fields, UTC, or @yearly, @monthly, @weekly, @daily, @hourly"}


def schedule_schemas() -> dict[str, Json]:
    """By name, as `Endpoint.body` and `Answer.schema` refer to them."""
    return {
        "Schedule": everything(
            id=TEXT,
            name=TEXT,
            owner=TEXT,
            kind=one_of(("container", "function")),
            chute=TEXT_OR_NULL,
            function=TEXT_OR_NULL,
            cron=CRON,
            catch_up=SWITCH,
            paused=SWITCH,
            next={**array_of(TIME), "description": "the five that come next; none where it is paused"},
            last=or_null(everything(due=TIME_OR_NULL, job=TEXT, at=TIME)),
            fired=WHOLE,
            skipped=WHOLE,
            missed=WHOLE,
            trouble=or_null(everything(code=TEXT, message=TEXT, remedy=TEXT, at=TIME)),
            created_at=TIME,
            spec={**ANY_OBJECT_OR_NULL, "description": "of a container job, secrets as ***; null in lists"},
        ),
        "SchedulePage": page_of("Schedule"),
        "ScheduleRequest": {
            "type": "object",
            "required": ["name", "cron", "spec"],
            "properties": {"name": TEXT, "cron": CRON, "catch_up": SWITCH, "spec": ref("JobSpec")},
            "additionalProperties": False,
        },
    }


def fired_by_schema() -> Json:
    """Of a job."""
    return or_null(everything(id=TEXT, due=TIME_OR_NULL))
