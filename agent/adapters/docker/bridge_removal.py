"""adapters/docker/bridge_removal — our bridge network, taken away where nothing is on it. Never a stranger's."""

from agent.adapters.docker import failures
from agent.adapters.docker.bridges import is_ours
from agent.adapters.docker.client import Calls
from agent.adapters.docker.failures import Refusal
from agent.interfaces import EngineRefusedError


async def remove(calls: Calls, name: str) -> bool:
    """False: there was none. Raises EngineRefusedError where it is not ours, or a container is on it."""
    try:
        found = await calls.quick(lambda client: client.inspect_network(name))
        if found["Name"] != name:  # an id that begins like it
            return False
        if not is_ours(found, name):
            raise EngineRefusedError(f"the network {name} is not gpu-agent's: it stays, and so do the rules")
        await calls.slow(lambda client: client.remove_network(name))
    except Refusal as refusal:
        if refusal.status == 404:
            return False
        if refusal.status == 403:
            told = f"containers are on the network {name}: remove them first (docker ps -a --filter network={name})"
            raise EngineRefusedError(told) from refusal
        raise failures.refused(refusal) from refusal
    return True
