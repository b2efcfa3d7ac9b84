"""spec/payload — whether a payload can be given to a function at all, as far as its signature tells. Binds nothing: the SDK does.

What is refused here would fail there before anything runs. What is not certain is left to it: the SDK has the function itself.
"""

from agent.spec.faults import Fault, show
from agent.spec.manifest import OUTPUT_DIR, JobFunction, Parameter, ParameterKind, signature_of

NAMED = (ParameterKind.POSITIONAL_OR_KEYWORD, ParameterKind.KEYWORD_ONLY)
SHOWN = 8


def find_payload_fault(function: JobFunction, payload: object) -> Fault | None:
    """None: it fits, or nobody can tell from here."""
    if any(parameter.kind not in NAMED for parameter in function.parameters):
        return None
    wanted = [parameter for parameter in function.parameters if parameter.name != OUTPUT_DIR]
    given = {} if payload is None else payload
    if not isinstance(given, dict):
        return (
            None
            if len(wanted) == 1
            else _fault(function, "is no object, and the function takes its values by name")
        )
    if len(wanted) == 1 and wanted[0].name not in given:
        return None  # it gets the payload as a whole
    return _compare(function, wanted, given)


def _compare(function: JobFunction, wanted: list[Parameter], given: dict[object, object]) -> Fault | None:
    names = {parameter.name for parameter in function.parameters}
    missing = [parameter.name for parameter in wanted if parameter.required and parameter.name not in given]
    unknown = [name for name in given if name not in names]
    told = [
        *([f"lacks {_listed(missing)}"] if missing else []),
        *([f"has {_listed(unknown)}, which the function does not take"] if unknown else []),
    ]
    return _fault(function, " and ".join(told)) if told else None


def _listed(names: list[str] | list[object]) -> str:
    shown = ", ".join(map(show, names[:SHOWN]))
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _fault(function: JobFunction, message: str) -> Fault:
    signature = signature_of(function.function, function.parameters)
    return Fault(
        "payload", "payload_mismatch", f"{message}; expected: {signature}", "Send what the signature names."
    )
