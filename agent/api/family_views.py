"""api/family_views — the jobs that came of one job, as the JSON that clients rely on, and its schema. Reads no store."""

from agent.api.schema_words import (
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    WHOLE,
    array_of,
    everything,
    one_of,
    or_null,
    ref,
)
from agent.api.views import Json
from agent.core.event_form import show_time
from agent.core.family import Family, Relative
from agent.core.job import Outcome
from agent.errors import Phase


def show_family(family: Family) -> Json:
    return {
        "root": family.root,
        "items": [show_relative(relative) for relative in family.relatives],
        "truncated": family.is_cut,
    }


def show_relative(relative: Relative) -> Json:
    return {
        "id": relative.id,
        "parent": relative.parent,
        "depth": relative.depth,
        "name": relative.name,
        "function": relative.function,
        "phase": relative.phase.value,
        "outcome": None if relative.outcome is None else relative.outcome.value,
        "reason_code": relative.reason_code,
        "attempt": relative.attempt,
        "created_at": show_time(relative.created_at),
        "started_at": show_time(relative.started_at),
        "finished_at": show_time(relative.finished_at),
    }


def family_schemas() -> dict[str, Json]:
    relative = everything(
        id=TEXT,
        parent=TEXT_OR_NULL,
        depth=WHOLE,
        name=TEXT_OR_NULL,
        function=TEXT_OR_NULL,
        phase=one_of(Phase),
        outcome=or_null(one_of(Outcome)),
        reason_code=TEXT_OR_NULL,
        attempt=WHOLE,
        created_at=TIME,
        started_at=TIME_OR_NULL,
        finished_at=TIME_OR_NULL,
    )
    return {
        "JobTree": everything(root=TEXT, items=array_of(relative), truncated={"type": "boolean"}),
        "StoppedJob": {"allOf": [ref("Job"), everything(asked=WHOLE)]},
    }
