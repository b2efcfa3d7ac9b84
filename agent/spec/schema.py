"""spec/schema — the job spec as a JSON schema, for the API's description. Decides nothing: `parse_spec` does."""

from typing import Any

from agent.spec.job import JobSpec
from agent.spec.limits import MAX_GPUS


def spec_schema() -> dict[str, Any]:
    """The schema of what a user may send, self-contained (no `$ref`), so that it can stand anywhere in another document."""
    schema = JobSpec.model_json_schema()
    definitions = schema.pop("$defs")
    plain: dict[str, Any] = put_in(schema, definitions)
    bare_count = {"type": "integer", "minimum": 0, "maximum": MAX_GPUS}
    plain["properties"]["gpus"] = {"anyOf": [bare_count, plain["properties"]["gpus"]], "default": 0}
    return plain


def put_in(node: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON is any
    """Replace each reference by what it refers to. The spec's models do not contain themselves, so this ends."""
    if isinstance(node, list):
        return [put_in(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return put_in(definitions[name] | {key: node[key] for key in node if key != "$ref"}, definitions)
    return {key: put_in(item, definitions) for key, item in node.items()}
