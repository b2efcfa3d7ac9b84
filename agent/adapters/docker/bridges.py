"""adapters/docker/bridges — our bridge network: made, found, told from a stranger's. Writes no firewall rules."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import structlog
from docker.types import IPAMConfig, IPAMPool

from agent.adapters.docker import failures
from agent.adapters.docker.arguments import AGENT_LABEL, BRIDGE_LABEL
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.core.bridge import Bridge
from agent.interfaces import EngineRefusedError

log = structlog.get_logger(__name__)

INTERFACE_OPTION = "com.docker.network.bridge.name"
SIBLINGS_OPTION = "com.docker.network.bridge.enable_icc"


async def ensure(calls: Calls, name: str, subnet6: str | None, agent: str) -> None:
    """Two callers at once are fine: the second is refused, and finds the first one's. One that is there stays as it is."""
    if await find(calls, name) is not None:
        return
    try:
        await _make(calls, name, subnet6, agent)
    except Refusal as refusal:
        if await find(calls, name) is not None:
            return
        if subnet6 is None or failures.is_engine_away(refusal):
            raise failures.refused(refusal) from refusal
        # Its kernel may lack what the engine needs for it. Jobs then have what they had before there was IPv6.
        log.warning("bridge.without_ipv6", bridge=name, error=refusal.text)
        await ensure(calls, name, None, agent)


async def _make(calls: Calls, name: str, subnet6: str | None, agent: str) -> None:
    options = {INTERFACE_OPTION: name, SIBLINGS_OPTION: "false"}
    labels = {BRIDGE_LABEL: name, AGENT_LABEL: agent}
    # Without a pool of IPv4 here the engine draws one, as it always did.
    ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet6)]) if subnet6 is not None else None
    await calls.slow(
        lambda client: client.create_network(
            name, driver="bridge", options=options, labels=labels, ipam=ipam, enable_ipv6=subnet6 is not None
        )
    )


async def find(calls: Calls, name: str) -> Bridge | None:
    try:
        found: Mapping[str, Any] = await calls.quick(lambda client: client.inspect_network(name))
    except Refusal as refusal:
        if refusal.status == 404:
            return None
        raise failures.refused(refusal) from refusal
    if found["Name"] != name:  # an id that begins like it
        return None
    if not is_ours(found, name):
        raise EngineRefusedError(
            f"the network {name} is there and is not gpu-agent's, or lets its containers talk to each other: "
            f"remove it, or set another [network] bridge"
        )
    return Bridge(name, _subnet6(found))


def is_ours(network: Mapping[str, Any], name: str) -> bool:
    """Any gpu-agent's will do: the state folder, and with it the agent's id, may be younger than the network."""
    options = network.get("Options") or {}
    return (
        (network.get("Labels") or {}).get(BRIDGE_LABEL) == name
        and network["Driver"] == "bridge"
        and options.get(INTERFACE_OPTION) == name
        and options.get(SIBLINGS_OPTION) == "false"
    )


def _subnet6(network: Mapping[str, Any]) -> str | None:
    """None also where the engine has a subnet of IPv6 in its books and does not use it."""
    pools = (network.get("IPAM") or {}).get("Config") or []
    subnets = [ip_network(pool["Subnet"]) for pool in pools if network.get("EnableIPv6")]
    return next((str(subnet) for subnet in subnets if subnet.version == 6), None)
