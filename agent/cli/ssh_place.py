"""cli/ssh_place — where a job's SSH is, read out of the API's answer, and as a block of ssh_config. Pure: writes no file.

Each word is checked before it gets into a file that ssh believes: an answer may come from anybody's server.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from agent.cli.refusals import NotAnAgentError

COMMAND = re.compile(
    r"ssh -p (?P<port>[0-9]{1,5}) (?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>[A-Za-z0-9:][A-Za-z0-9.:-]*)"
)
KNOWN = re.compile(r"\S+ (?P<key>ssh-ed25519 [A-Za-z0-9+/]{1,200}={0,2})")


@dataclass(frozen=True, slots=True)
class Place:
    """`alias`: what this side calls it. `host_key`: type and key, as known_hosts has them."""

    alias: str
    host: str
    port: int
    user: str
    host_key: str

    @property
    def known_hosts(self) -> str:
        return f"{self.alias} {self.host_key}\n"


def read_place(job_id: str, ssh: Mapping[str, Any], agent_host: str | None) -> Place:
    """`agent_host`: where the API itself was reached over the network: there a loopback address is not this machine's.

    Raises NotAnAgentError.
    """
    command = COMMAND.fullmatch(str(ssh.get("command")))
    known = KNOWN.fullmatch(str(ssh.get("known_hosts")))
    if command is None or known is None:
        raise NotAnAgentError("the line for ssh, or its host key, is none that this program knows")
    host = command["host"]
    if agent_host is not None and is_loopback(host):
        host = agent_host
    # The whole id: those of one minute begin alike, and a block may be included beside another one.
    return Place(f"gpu-agent-{job_id}", host, int(command["port"]), command["user"], known["key"])


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def write_block(place: Place, key: Path, known_hosts: Path) -> str:
    """For `ssh -F`, scp, sftp and rsync alike, or to be included: nothing else of the user's config is needed."""
    return "".join(
        f"{line}\n"
        for line in (
            f"Host {place.alias}",
            f"    HostName {place.host}",
            f"    Port {place.port}",
            f"    User {place.user}",
            f"    HostKeyAlias {place.alias}",
            "    StrictHostKeyChecking yes",
            f"    UserKnownHostsFile {quoted(known_hosts)}",
            "    GlobalKnownHostsFile /dev/null",
            "    UpdateHostKeys no",
            f"    IdentityFile {quoted(key)}",
            "    IdentitiesOnly yes",
            "    PreferredAuthentications publickey",
            "    ForwardAgent no",
            "    ServerAliveInterval 15",
        )
    )


def quoted(path: Path) -> str:
    """ssh_config has quotes, and % stands for what the config makes of it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
