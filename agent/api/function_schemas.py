"""api/function_schemas — what is told of a function, as JSON schema for openapi.json. Checks nothing."""

from agent.api.schema_words import (
    ANY_OBJECT_OR_NULL,
    NUMBER_OR_NULL,
    TEXT_OR_NULL,
    WHOLE,
    WHOLE_OR_NULL,
    array_of,
    everything,
)
from agent.api.views import Json


def function_error_schema() -> Json:
    return everything(
        type=TEXT_OR_NULL,
        message=TEXT_OR_NULL,
        traceback=TEXT_OR_NULL,
        status_code=WHOLE_OR_NULL,
        detail=TEXT_OR_NULL,
    )


def metric_schema() -> Json:
    return everything(
        count=WHOLE,
        sum=NUMBER_OR_NULL,
        min=NUMBER_OR_NULL,
        max=NUMBER_OR_NULL,
        last=NUMBER_OR_NULL,
        points=array_of({"type": "array", "items": {"type": "number"}}),
        labels=ANY_OBJECT_OR_NULL,
        other_labels=WHOLE,
    )
