"""daemon/functions — who answers what running functions ask of other jobs: the parts of the API put behind their sockets. Decides nothing."""

from agent.api.app import ApiParts
from agent.api.showing import JobShowing
from agent.interfaces.chutes import ChildSpec, Chutes
from agent.jobs.function_calls import FunctionCalls


class NoChutes:
    """Of a daemon that nothing is deployed on."""

    async def compose_child(self, owner: str, version: str, function: str) -> ChildSpec | None:  # noqa: ARG002 - the protocol's
        return None


def function_calls(parts: ApiParts, chutes: Chutes) -> FunctionCalls:
    showing = JobShowing(parts.store, parts.folders, parts.uploads, parts.ssh, parts.addresses)
    return FunctionCalls(parts.store, parts.intake, chutes, showing.show_to_function, showing.show_ports)
