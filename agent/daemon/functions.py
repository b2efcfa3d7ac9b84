"""daemon/functions — who answers what running functions ask of other jobs: the parts of the API put behind their sockets. Decides nothing."""

from agent.api.app import ApiParts
from agent.api.showing import JobShowing
from agent.jobs.function_calls import FunctionCalls


def function_calls(parts: ApiParts) -> FunctionCalls:
    showing = JobShowing(parts.store, parts.folders, parts.uploads, parts.ssh, parts.addresses)
    return FunctionCalls(
        parts.store,
        parts.intake,
        parts.chutes,
        showing.write_to_function,
        showing.show_ports,
        parts.cords.under_way,
    )
