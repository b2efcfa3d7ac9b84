"""spec/shape — types, missing and unknown fields: pydantic's findings in our words. Knows no limits."""

import json
from collections.abc import Iterator
from itertools import islice

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agent.spec.faults import MAX_FAULTS, Fault, join_path, show
from agent.spec.forms import Body
from agent.spec.job import Gpus, JobSpec, Notify, Outputs, Registry, Retry, Upload
from agent.spec.near import nearest
from agent.spec.ports import Port
from agent.spec.ssh import Ssh
from agent.spec.text import describe

EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
# Fields that take more than one type, which their own type does not tell.
EXPECTED_OF_FIELD = {
    "gpus": "a count or an object",
    "memory": "bytes as a whole number, or text such as 64GiB",
    "shm": "bytes as a whole number, or text such as 64GiB",
    "disk": "bytes as a whole number, or text such as 64GiB",
    "gpus.min_memory": "bytes as a whole number, or text such as 64GiB",
    "ssh": "false, or an object with authorized_keys",
    "not_before": "text such as 2030-01-31T08:00:00Z",
}
MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): JobSpec,
    ("ports",): Port,
    ("gpus",): Gpus,
    ("outputs",): Outputs,
    ("outputs", "upload"): Upload,
    ("retry",): Retry,
    ("notify",): Notify,
    ("registry",): Registry,
    ("ssh",): Ssh,
}


def read_shape(body: Body) -> tuple[JobSpec | None, list[Fault]]:
    """Make the spec out of a cleaned body, or say everything that is in its way.

    It goes through JSON so that the check is the very one by which a stored spec is read again.
    """
    try:
        return JobSpec.model_validate_json(json.dumps(body)), []
    except ValidationError as refused:
        return None, list(islice(tell_errors(refused), MAX_FAULTS + 1))


def tell_errors(refused: ValidationError) -> Iterator[Fault]:
    for error in refused.errors(include_url=False):
        path = join_path(*error["loc"])
        if error["type"] == "extra_forbidden":
            yield tell_unknown(error)
        elif error["type"] == "missing":
            yield Fault(path, "missing_field", "is required", "Add it.")
        elif error["type"] == "enum":
            choices = error.get("ctx", {}).get("expected", "")
            yield Fault(path, "not_one_of", f"must be {choices}", f"Write {choices}.")
        else:
            expected = EXPECTED_OF_FIELD.get(path) or EXPECTED.get(error["type"], "another type")
            message = f"must be {expected}, not {describe(error['input'])}"
            yield Fault(path, "wrong_type", message, f"Write {expected}.")


def tell_unknown(error: ErrorDetails) -> Fault:
    *above, name = error["loc"]
    model = MODELS[tuple(part for part in above if isinstance(part, str))]
    known = ", ".join(model.model_fields)
    return Fault(
        join_path(*error["loc"]),
        "unknown_field",
        f"{show(name)} is no field here{nearest(str(name), model.model_fields)}",
        f"The fields are: {known}.",
    )
