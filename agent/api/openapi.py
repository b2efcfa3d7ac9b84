"""api/openapi — openapi.json out of the endpoints themselves, so that the two can't drift. Serves it too."""

import json
import re
from collections.abc import Iterable

from aiohttp import web

from agent.api.auth import Access, Caller
from agent.api.endpoints import ROOT_AND_V1, Answer, Endpoint
from agent.api.problems import CONTENT_TYPE
from agent.api.schema_words import ref
from agent.api.schemas import component_schemas
from agent.api.views import Json

# aiohttp's {name:pattern}; a path of OpenAPI has {name}.
PATTERN = re.compile(r"\{(\w+):[^{}]*\}")


def with_description(endpoints: Iterable[Endpoint], version: str) -> tuple[Endpoint, ...]:
    """The endpoints and one more, that describes them all, itself included."""
    document = b""

    async def show(_request: web.Request, _caller: Caller) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    itself = Endpoint(
        "GET",
        "/openapi.json",
        Access.ANY_TOKEN,
        show,
        "This description",
        {200: Answer("OpenAPI 3.1")},
        bases=ROOT_AND_V1,
    )
    every = (*endpoints, itself)
    document = json.dumps(describe(every, version), indent=1).encode()
    return every


def describe(endpoints: Iterable[Endpoint], version: str) -> Json:
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        for base in endpoint.bases:
            path = PATTERN.sub(r"{\1}", base + endpoint.path)
            paths.setdefault(path, {})[endpoint.method.lower()] = describe_endpoint(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "gpu-agent", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": component_schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def describe_endpoint(endpoint: Endpoint) -> Json:
    problem = {"description": "a problem (RFC 9457)", "content": {CONTENT_TYPE: {"schema": ref("Problem")}}}
    told: Json = {
        "summary": endpoint.about,
        "description": f"Needs: {endpoint.access.value}.",
        "security": [] if endpoint.access is Access.OPEN else [{"token": []}],
        "parameters": [
            {
                "name": parameter.name,
                "in": parameter.place,
                "description": parameter.about,
                "required": parameter.place == "path",
                "schema": parameter.schema,
            }
            for parameter in endpoint.parameters
        ],
        "responses": {
            **{str(status): describe_answer(answer) for status, answer in endpoint.answers.items()},
            "default": problem,
        },
    }
    if endpoint.body is not None:
        content = {endpoint.body_media: {"schema": ref(endpoint.body)}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def describe_answer(answer: Answer) -> Json:
    if answer.schema is None:
        return {"description": answer.about}
    return {"description": answer.about, "content": {answer.media: {"schema": ref(answer.schema)}}}
