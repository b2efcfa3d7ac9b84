"""api/upload_schemas — what answers say of outputs and of how they leave, as JSON schema for openapi.json. Checks nothing."""

from agent.api.schema_words import (
    TEXT,
    TEXT_OR_NULL,
    TIME,
    TIME_OR_NULL,
    WHOLE,
    WHOLE_OR_NULL,
    array_of,
    everything,
    one_of,
    or_null,
)
from agent.api.views import Json
from agent.core.upload import FileState, UploadState
from agent.core.upload_troubles import UPLOAD_TROUBLES
from agent.errors import Blame


def upload_schemas() -> dict[str, Json]:
    return {
        "OutputPage": output_page_schema(),
        "UploadRequest": {
            "type": "object",
            "properties": {"upload": {"type": "object", "description": "as in a job's spec"}},
        },
    }


def upload_schema() -> Json:
    return everything(
        state=one_of(("waiting", "skipped", *UploadState)),
        files_done=WHOLE,
        files_total=WHOLE_OR_NULL,
        files_failed=WHOLE,
        bytes_done=WHOLE,
        bytes_total=WHOLE_OR_NULL,
        rate={**WHOLE_OR_NULL, "description": "bytes a second"},
        eta={"type": ["number", "null"], "description": "seconds"},
        last_error=or_null(upload_trouble_schema()),
    )


def upload_trouble_schema() -> Json:
    return everything(
        code=one_of(UPLOAD_TROUBLES),
        path=TEXT_OR_NULL,
        status=WHOLE_OR_NULL,
        blame=one_of(Blame),
        message=TEXT,
        remedy=TEXT,
        at=TIME,
    )


def output_page_schema() -> Json:
    left = everything(
        state=one_of(("sending", *FileState)), bytes_done=WHOLE, last_error=or_null(upload_trouble_schema())
    )
    file = everything(
        path=TEXT,
        size=WHOLE,
        sha256=TEXT_OR_NULL,
        modified_at=TIME_OR_NULL,
        mode=WHOLE,
        upload=or_null(left),
    )
    skipped = everything(path=TEXT, why=TEXT)
    return everything(
        items=array_of(file), skipped=array_of(skipped), truncated=TEXT_OR_NULL, next=TEXT_OR_NULL
    )
