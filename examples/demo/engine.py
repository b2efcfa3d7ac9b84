"""engine — a Docker engine for the demo: the host's if we may use it, else one of our own. Builds and runs nothing on it."""

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException
from place import Place, engines
from requests.exceptions import RequestException
from screen import tell

from tests.private_engine_host import ensure_packages

SYSTEM_SOCKET = "/var/run/docker.sock"
ANSWERS_WITHIN_SECONDS = 5


@dataclass(frozen=True)
class Engine:
    """`prefix` goes before every command that must see the engine's network; empty where that is everybody's."""

    socket: str
    prefix: list[str]


def provide_engine(place: Place) -> Engine:
    for socket in host_sockets():
        version = ask_version(socket)
        if version is not None and os.geteuid() != 0:
            tell(
                f"Docker {version} of this host is passed over: only root may hold jobs to rules of the network"
            )
        elif version is not None:
            tell(f"Docker {version} of this host, at {socket}")
            ensure_packages({"nft": "nftables"})
            return remember(place, Engine(socket, []))
    tell("no Docker that we may use: starting a private engine")
    ensure_packages()
    # A network namespace of its own, so that its bridges and firewall chains go away with it.
    private = engines.start(place.engine, namespace=f"gpu-agent-demo-{place.mark}")
    tell(f"Docker {ask_version(private.socket)}, in the network namespace {private.namespace}")
    return remember(place, Engine(private.socket, private.prefix))


def remember(place: Place, engine: Engine) -> Engine:
    """For the clean-up, which may be the next run's."""
    place.engine_socket.write_text(engine.socket)
    return engine


def host_sockets() -> list[str]:
    named = os.environ.get("DOCKER_HOST", "")
    if not named:
        return [SYSTEM_SOCKET]
    if named.startswith("unix://"):
        return [named.removeprefix("unix://")]
    tell(f"DOCKER_HOST={named} is no Unix socket: the agent must be on its engine's host")
    return []


def ask_version(socket: str) -> str | None:
    """None: nobody is there, or it is not ours to use."""
    if not Path(socket).exists():
        return None
    try:
        with closing(
            docker.DockerClient(base_url=f"unix://{socket}", timeout=ANSWERS_WITHIN_SECONDS)
        ) as asked:
            return str(asked.version()["Version"])
    except (DockerException, RequestException):
        return None
