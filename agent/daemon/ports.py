"""daemon/ports — which checks there are of ports, for /health and for the doctor. What each looks at is jobs/port_probes'. Changes nothing."""

import asyncio
from collections.abc import Iterable, Sequence

from agent.adapters.docker.engine import DockerEngine
from agent.adapters.host_ports import meet, reachable_at, why_not_bindable
from agent.adapters.linux import read_ephemeral_ports, read_forwarding, read_ipv6
from agent.config import Config
from agent.core.bridge import why_no_ipv6
from agent.core.container import Container, ContainerState
from agent.core.ports import Answer, PortRange
from agent.daemon.quotas import agent_id
from agent.daemon.values import addresses_of
from agent.jobs.health import Probe
from agent.jobs.port_probes import bridge_probe, ports_probe, publishing_probe, reachable_probe

# So many are tried: a check has four seconds, and a process 1,024 open files where nobody gave it more.
MOST_CONTAINERS, MOST_PORTS = 20, 200
MEET_SECONDS = 1.0


def port_checks(config: Config) -> dict[str, Probe]:
    """Those that ask only the kernel."""
    ours = PortRange(config.ports.range.first, config.ports.range.last)
    return {
        "ports": ports_probe(ours, addresses_of(config).nat, read_ephemeral_ports),
        "publishing": publishing_probe(config.ports.bind, why_not_bindable, read_forwarding),
    }


def engine_port_checks(config: Config, engine: DockerEngine) -> dict[str, Probe]:
    """Those that ask the engine, too, and connect to jobs: not for /health, which looks often."""
    return {
        "bridge": bridge_probe(engine, config.network.bridge, why_no_ipv6(read_ipv6())),
        "published_ports": reachable_probe(lambda: _meet_all(config)),
    }


async def _meet_all(config: Config) -> Sequence[tuple[int, Answer]]:
    """The published tcp ports of jobs that run, on each address: which, and how it was met."""
    agent = await agent_id(config)
    if agent is None:
        return ()
    engine = await DockerEngine.open(config.engine.socket, agent)
    try:
        running = [seen for seen in await engine.ours() if seen.state is ContainerState.RUNNING]
        found = await asyncio.gather(*(engine.inspect(seen.id) for seen in running[:MOST_CONTAINERS]))
    finally:
        await engine.close()
    places = sorted(_places(seen for seen in found if seen is not None))[:MOST_PORTS]
    answers = await asyncio.gather(*(meet(address, port, MEET_SECONDS) for address, port in places))
    return [(port, answer) for (_, port), answer in zip(places, answers, strict=True)]


def _places(containers: Iterable[Container]) -> set[tuple[str, int]]:
    return {
        (reachable_at(port.host_address), port.host_port)
        for seen in containers
        for port in seen.ports
        if port.transport == "tcp"
    }
