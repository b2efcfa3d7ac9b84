"""api/schema_words — JSON schema in few words: types, objects, lists. Knows no answer of ours."""

from collections.abc import Iterable

from agent.api.views import Json

TEXT: Json = {"type": "string"}
TEXT_OR_NULL: Json = {"type": ["string", "null"]}
WHOLE: Json = {"type": "integer"}
WHOLE_OR_NULL: Json = {"type": ["integer", "null"]}
NUMBER_OR_NULL: Json = {"type": ["number", "null"]}
TIME: Json = {"type": "string", "format": "date-time"}
TIME_OR_NULL: Json = {"type": ["string", "null"], "format": "date-time"}
ANY_OBJECT_OR_NULL: Json = {"type": ["object", "null"]}
TEXTS: Json = {"type": "array", "items": TEXT}


def everything(**properties: Json) -> Json:
    """An object that always has every one of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def array_of(items: Json) -> Json:
    return {"type": "array", "items": items}


def or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(values: Iterable[str]) -> Json:
    return {"type": "string", "enum": [str(value) for value in values]}


def page_of(name: str) -> Json:
    return everything(items=array_of(ref(name)), next=TEXT_OR_NULL)
