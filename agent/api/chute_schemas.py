"""api/chute_schemas — what requests and answers about chutes look like, as JSON schema. Checks nothing: `spec` and `jobs/chutes` do."""

from agent.api.schema_words import (
    ANY_OBJECT_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TIME,
    WHOLE_OR_NULL,
    array_of,
    everything,
    one_of,
    page_of,
)
from agent.api.views import Json
from agent.core.chute import VersionState

OBJECT: Json = {"type": "object"}
SPEC: Json = {
    "type": "object",
    "description": "fields of a job's spec, but command, entrypoint, ports, timeout, retry, queue and priority",
}


def chute_schemas() -> dict[str, Json]:
    """By name, as `Endpoint.body` and `Answer.schema` refer to them."""
    fault = everything(field=TEXT, code=TEXT, message=TEXT, remedy=TEXT)
    state = one_of(VersionState)
    brief = everything(id=TEXT, number=WHOLE_OR_NULL, state=state, created_at=TIME)
    return {
        "DeployForm": _form_schema(),
        "Chute": everything(
            name=TEXT,
            owner=TEXT,
            version=brief,
            image=TEXT,
            entry=TEXT,
            spec=OBJECT,
            catch_up={"type": "boolean"},
            jobs=array_of(OBJECT),
            cords=array_of(OBJECT),
            notes=TEXTS,
            tagline=TEXT_OR_NULL,
            readme=TEXT_OR_NULL,
            declared=ANY_OBJECT_OR_NULL,
            sdk=TEXT,
            python=TEXT,
            versions=array_of(brief),
        ),
        "ChuteBrief": everything(
            name=TEXT,
            owner=TEXT,
            version=brief,
            image=TEXT,
            entry=TEXT,
            jobs={**TEXTS, "description": "names"},
        ),
        "ChutePage": page_of("ChuteBrief"),
        "ChuteVersion": everything(
            version=TEXT,
            state=state,
            chute=TEXT_OR_NULL,
            number=WHOLE_OR_NULL,
            image=TEXT,
            entry=TEXT,
            created_at=TIME,
            describe_job=TEXT,
            faults=array_of(fault),
        ),
        "StartRequest": {
            "type": "object",
            "properties": {"payload": {"description": "any JSON; default {}"}, "spec": SPEC},
        },
    }


def _form_schema() -> Json:
    deploy: Json = {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": TEXT,
            "entry": {**TEXT, "description": "FILE[:ATTRIBUTE]; default main.py:chute"},
            "spec": SPEC,
            "catch_up": {
                "type": "boolean",
                "description": "whether its schedules make up for the latest minute that they missed; default false",
            },
            "cords_gpus": {"description": "what the cords get, as `gpus` of a spec; default: none"},
        },
    }
    return {
        "type": "object",
        "required": ["deploy", "code"],
        "properties": {
            "deploy": deploy,
            "code": {**TEXT, "description": "a tar archive, plain or by gzip, of at most 32 MiB"},
        },
    }
