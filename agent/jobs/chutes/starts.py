"""jobs/chutes/starts — what is sent to start a function: read, with every fault where its sender has it. Starts nothing."""

from dataclasses import replace

from agent.spec import Fault, SpecRefusedError, find_start_faults

FIELDS = ("payload", "spec")


def read_start(body: object) -> tuple[object, dict[str, object]]:
    """The payload ({} where none is sent) and the spec. Raises SpecRefusedError."""
    if not isinstance(body, dict):
        fault = Fault("body", "wrong_type", "must be an object", 'Send {"payload": {…}, "spec": {…}}.')
        raise SpecRefusedError([fault])
    faults = [
        Fault(str(name)[:64], "unknown_field", "is no field here", "The fields are: payload, spec.")
        for name in body
        if name not in FIELDS
    ]
    spec = body.get("spec")
    faults += find_start_faults(spec)
    if faults:
        raise SpecRefusedError(faults)
    return body.get("payload", {}), dict(spec) if isinstance(spec, dict) else {}


def say_where(fault: Fault, spec: dict[str, object]) -> Fault:
    """A fault of the composed spec, at the start's own `spec` where that has the field; else it is the chute's."""
    is_own = fault.field.partition(".")[0] in spec or fault.field == "body"
    return replace(fault, field=f"spec.{fault.field}") if is_own else fault
