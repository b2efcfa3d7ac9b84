"""daemon/network — the firewall opened, tried for the doctor, and taken away with the jobs' bridge at an uninstall."""

from contextlib import AsyncExitStack

from agent.adapters.docker.engine import DockerEngine
from agent.adapters.firewall import Nft, RuleNews
from agent.adapters.folders import open_folders
from agent.adapters.linux import read_dns_servers
from agent.aio import Threads
from agent.config import Config
from agent.core.firewall import table_of
from agent.daemon.values import rules_of
from agent.jobs.health import Probe
from agent.jobs.network_probe import rules_probe


def open_firewall(stack: AsyncExitStack) -> Nft:
    firewall = Nft(RuleNews())
    stack.callback(firewall.close)
    return firewall


def firewall_probe(config: Config) -> Probe:
    firewall = Nft(RuleNews())
    rules = rules_of(config, config.network.dns or read_dns_servers())
    return rules_probe(lambda: firewall.try_out(rules), firewall.why_unfiltered)


async def remove_network(config: Config) -> list[str]:
    """What was removed, a line each: the jobs' bridge, and only then its rules. The agent must be stopped, the engine must answer.

    Raises StateInUseError, EngineUnavailableError, EngineRefusedError (a container is on it), FirewallUnusableError,
    FirewallSilentError.
    """
    async with AsyncExitStack() as stack:
        threads = Threads("folders", 1)
        stack.callback(threads.close)
        folders = await open_folders(config.state_dir, config.runtime_dir, threads)
        stack.callback(folders.close)
        engine = await DockerEngine.open(config.engine.socket, folders.agent_id)
        stack.push_async_callback(engine.close)
        bridge = config.network.bridge
        done = []
        if await engine.remove_bridge(bridge):
            done.append(f"the network {bridge} is removed")
        firewall, table = open_firewall(stack), table_of(bridge)
        if await firewall.fingerprint(table) is not None:
            done.append(f"the rules (table {table}) are removed")
        await firewall.remove(table)
        return done
