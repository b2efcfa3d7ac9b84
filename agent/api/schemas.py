"""api/schemas — what requests and answers look like, as JSON schema for openapi.json. Checks nothing: `views` and `spec` do."""

from agent.api.chute_schemas import chute_schemas
from agent.api.family_views import family_schemas
from agent.api.function_schemas import function_error_schema, metric_schema
from agent.api.gpu_schemas import gpu_schemas, gpu_usage_schema, sample_properties
from agent.api.schedule_schemas import fired_by_schema, schedule_schemas
from agent.api.schema_words import (
    ANY_OBJECT_OR_NULL,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TIME,
    TIME_OR_NULL,
    WHOLE,
    WHOLE_OR_NULL,
    array_of,
    everything,
    one_of,
    or_null,
    page_of,
)
from agent.api.ssh_schemas import ssh_schema, ssh_schemas
from agent.api.tokens import Scope
from agent.api.upload_schemas import upload_schema, upload_schemas
from agent.api.views import Json
from agent.core.job import Kind, Outcome
from agent.core.notify import TROUBLES, NotifyEnd
from agent.errors import Blame, Phase
from agent.jobs.health import CheckState
from agent.spec import Proto, spec_schema


def component_schemas() -> dict[str, Json]:
    """By name, as `Endpoint.body` and `Answer.schema` refer to them."""
    return {
        "JobSpec": spec_schema(),
        "Job": job_schema(),
        "JobPage": page_of("Job"),
        "Event": everything(
            seq=WHOLE, n=WHOLE_OR_NULL, job=TEXT_OR_NULL, at=TIME, type=TEXT, data={"type": "object"}
        ),
        "LogLine": log_line_schema(),
        "Host": {"type": "object"},
        "Stats": stats_schema(),
        "PullRequest": everything(image=TEXT),
        "PullLine": {"type": "object", "required": ["state", "image"]},
        "State": {"type": "object", "required": ["state"]},
        **gpu_schemas(),
        **upload_schemas(),
        **ssh_schemas(),
        **chute_schemas(),
        **family_schemas(),
        **schedule_schemas(),
        "OpenRequest": {"type": "object", "required": ["port"], "properties": {"port": TEXT, "path": TEXT}},
        "SignIn": everything(token=TEXT),
        "Session": session_schema(),
        "OpenedPage": everything(url=TEXT, expires_at=TIME),
        "Health": health_schema(),
        "Problem": problem_schema(),
    }


def job_schema() -> Json:
    return everything(
        id=TEXT,
        name=TEXT_OR_NULL,
        kind=one_of(Kind),
        owner=TEXT,
        phase=one_of(Phase),
        outcome=or_null(one_of(Outcome)),
        reason=or_null(reason_schema()),
        attempt=WHOLE,
        attempts=array_of(attempt_schema()),
        exit=or_null(exit_schema()),
        gpu_usage=or_null(gpu_usage_schema()),
        waiting_for=TEXT_OR_NULL,
        waiting_words=TEXT_OR_NULL,
        gpus=TEXTS,
        ports=array_of(port_schema()),
        ssh=or_null(ssh_schema()),
        progress=or_null(everything(percent=NUMBER_OR_NULL, message=TEXT_OR_NULL)),
        statuses=ANY_OBJECT_OR_NULL,
        result={"description": "of a function, up to 256 KiB; null in lists"},
        result_bytes=WHOLE_OR_NULL,
        result_note=TEXT_OR_NULL,
        error=or_null(function_error_schema()),
        metrics={**ANY_OBJECT_OR_NULL, "additionalProperties": metric_schema()},
        upload=or_null(upload_schema()),
        notify=or_null(notify_schema()),
        parent=TEXT_OR_NULL,
        children=TEXTS,
        chute=or_null(everything(name=TEXT, version=TEXT, function=TEXT_OR_NULL)),
        schedule=fired_by_schema(),
        queue=TEXT,
        priority=WHOLE,
        labels={"type": "object", "additionalProperties": TEXT},
        image_digest=TEXT_OR_NULL,
        created_at=TIME,
        started_at=TIME_OR_NULL,
        finished_at=TIME_OR_NULL,
        spec={"type": "object", "description": "as it was accepted, every default filled in, secrets as ***"},
    )


def session_schema() -> Json:
    return everything(
        principal=TEXT, scopes=array_of(one_of(Scope)), expires_at=TIME_OR_NULL, key=TEXT_OR_NULL
    )


def notify_schema() -> Json:
    error = everything(
        n=WHOLE,
        code=one_of(TROUBLES),
        status=WHOLE_OR_NULL,
        blame=one_of(Blame),
        message=TEXT,
        remedy=TEXT,
        at=TIME,
    )
    return everything(
        state=one_of(("open", *NotifyEnd)),
        delivered=WHOLE,
        dropped=WHOLE,
        pending=WHOLE,
        last_error=or_null(error),
    )


def reason_schema() -> Json:
    return everything(
        code=TEXT,
        phase=one_of(Phase),
        blame=one_of(Blame),
        retryable={"type": "boolean"},
        message=TEXT,
        remedy=TEXT,
    )


def exit_schema() -> Json:
    return everything(
        code=WHOLE_OR_NULL,
        signal=WHOLE_OR_NULL,
        oom={"type": "boolean"},
        started_at=TIME_OR_NULL,
        finished_at=TIME_OR_NULL,
        peak_memory=WHOLE_OR_NULL,
        gpu_seconds=NUMBER_OR_NULL,
    )


def stats_schema() -> Json:
    container = everything(
        cpu_percent=NUMBER_OR_NULL,
        cpu_seconds=NUMBER_OR_NULL,
        memory=WHOLE_OR_NULL,
        memory_limit=WHOLE_OR_NULL,
        pids=WHOLE_OR_NULL,
        network_received=WHOLE_OR_NULL,
        network_sent=WHOLE_OR_NULL,
        disk_read=WHOLE_OR_NULL,
        disk_written=WHOLE_OR_NULL,
    )
    return everything(
        job=TEXT,
        attempt=WHOLE,
        at=TIME,
        started_at=TIME_OR_NULL,
        container=or_null(container),
        gpus=array_of(everything(uuid=TEXT, **sample_properties())),
        gpu_usage=or_null(gpu_usage_schema()),
    )


def port_schema() -> Json:
    return everything(
        name=TEXT,
        port=WHOLE,
        proto=one_of(Proto),
        host=TEXT_OR_NULL,
        host_port=WHOLE_OR_NULL,
        external_host=TEXT_OR_NULL,
        external_port=WHOLE_OR_NULL,
        url=TEXT_OR_NULL,
    )


def attempt_schema() -> Json:
    return everything(
        number=WHOLE,
        outcome=one_of(Outcome),
        reason=or_null(reason_schema()),
        exit=or_null(exit_schema()),
        gpu_usage=or_null(gpu_usage_schema()),
        gpus=TEXTS,
        ports=array_of(port_schema()),
        container=TEXT_OR_NULL,
        closed_at=TIME,
    )


def log_line_schema() -> Json:
    return {"type": "object", "description": "one line or record of a log; `cursor` resumes after it"}


def health_schema() -> Json:
    check = everything(name=TEXT, state=one_of(CheckState), since=TIME, evidence=TEXT, remedy=TEXT_OR_NULL)
    return everything(state=one_of(CheckState), checks=array_of(check))


def problem_schema() -> Json:
    fault = everything(field=TEXT, code=TEXT, message=TEXT, remedy=TEXT)
    return everything(
        type=TEXT,
        title=TEXT,
        status=WHOLE,
        detail=TEXT,
        code=TEXT,
        blame=one_of(Blame),
        phase=or_null(one_of(Phase)),
        remedy=TEXT,
        faults=array_of(fault),
    )
