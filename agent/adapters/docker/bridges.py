"""adapters/docker/bridges — our bridge network: made, found, told from a stranger's. Writes no firewall rules."""

from collections.abc import Mapping
from typing import Any

from agent.adapters.docker import failures
from agent.adapters.docker.arguments import AGENT_LABEL, BRIDGE_LABEL
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.interfaces import EngineRefusedError

INTERFACE_OPTION = "com.docker.network.bridge.name"
SIBLINGS_OPTION = "com.docker.network.bridge.enable_icc"


async def ensure(calls: Calls, name: str, agent: str) -> None:
    """Two callers at once are fine: the second is told 409, and finds the first one's."""
    if await _is_there(calls, name):
        return
    options = {INTERFACE_OPTION: name, SIBLINGS_OPTION: "false"}
    labels = {BRIDGE_LABEL: name, AGENT_LABEL: agent}
    try:
        await calls.slow(
            lambda client: client.create_network(name, driver="bridge", options=options, labels=labels)
        )
    except Refusal as refusal:
        if refusal.status == 409 and await _is_there(calls, name):
            return
        raise failures.refused(refusal) from refusal


async def _is_there(calls: Calls, name: str) -> bool:
    try:
        found: Mapping[str, Any] = await calls.quick(lambda client: client.inspect_network(name))
    except Refusal as refusal:
        if refusal.status == 404:
            return False
        raise failures.refused(refusal) from refusal
    if found["Name"] != name:  # an id that begins like it
        return False
    if not is_ours(found, name):
        raise EngineRefusedError(
            f"the network {name} is there and is not gpu-agent's, or lets its containers talk to each other: "
            f"remove it, or set another [network] bridge"
        )
    return True


def is_ours(network: Mapping[str, Any], name: str) -> bool:
    """Any gpu-agent's will do: the state folder, and with it the agent's id, may be younger than the network."""
    options = network.get("Options") or {}
    return (
        (network.get("Labels") or {}).get(BRIDGE_LABEL) == name
        and network["Driver"] == "bridge"
        and options.get(INTERFACE_OPTION) == name
        and options.get(SIBLINGS_OPTION) == "false"
    )
