"""ssh_stage — the kit's server in a container of an image's own making, and the host's SSH clients before it. Tests nothing itself."""

import asyncio
import itertools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conftest import DockerStage

from agent.core.container import ContainerPlan, Mount, PublishedPort
from agent.core.policy import CAPABILITIES
from agent.core.ssh_kit import (
    SSH_PORT,
    SshKit,
    authorized_line,
    kit_mount,
    server_command,
)
from tests.contract.engine_contract import bare_plan

BRIDGE = "gatest0"
KEYS = "/.agent/ssh-keys"
READY_SECONDS = 15.0
_host_ports = itertools.count(20100)


@dataclass(frozen=True)
class Identity:
    """A key pair of a user's: `file` the private one."""

    file: Path

    @property
    def public(self) -> str:
        return self.file.with_suffix(".pub").read_text().strip()


def make_identity(folder: Path, name: str = "id") -> Identity:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    return Identity(folder / name)


class SshJob:
    """A container with the kit, its keys, and how to reach it."""

    def __init__(self, stage: DockerStage, kit: SshKit, folder: Path) -> None:
        self.stage, self.kit, self.folder = stage, kit, folder
        self.keys = folder / "keys"
        self.keys.mkdir()
        self.keys.chmod(0o755)
        # On the host no loader has the name that the kit's programs give.
        make = [
            f"{kit.path}/{kit.loader}",
            f"{kit.path}/dropbearkey",
            "-t",
            "ed25519",
            "-f",
            self.keys / "host_key",
        ]
        subprocess.run(make, capture_output=True, check=True)
        (self.keys / "host_key").chmod(0o444)
        self.identity = make_identity(folder)
        self.allow(self.identity)
        self.port = next(_host_ports)
        self.container = ""
        self.user = "root"

    def allow(self, *identities: Identity) -> None:
        lines = "".join(f"{authorized_line(identity.public)}\n" for identity in identities)
        (self.keys / "new").write_text(lines)
        (self.keys / "new").chmod(0o644)
        (self.keys / "new").rename(self.keys / "authorized_keys")

    def plan(
        self, image: str, *, user: str | None = None, environment: Mapping[str, str] | None = None
    ) -> ContainerPlan:
        self.user = "root" if user is None else "worker"
        return replace(
            bare_plan(self.stage.agent, f"ssh-{self.port}", image),
            command=("sleep", "3600"),
            user=user,
            workdir="/tmp",
            environment=tuple(sorted((environment or {}).items())),
            bridge=BRIDGE,
            ports=(PublishedPort(SSH_PORT, "tcp", "127.0.0.1", self.port),),
            mounts=(kit_mount(self.kit), Mount(str(self.keys), KEYS, read_only=True)),
            capabilities=CAPABILITIES,
        )

    async def run(self, plan: ContainerPlan) -> None:
        await self.stage.engine.ensure_bridge(BRIDGE, None)
        self.container = await self.stage.run(plan)
        await self.start_server()

    async def run_read_only(self, plan: ContainerPlan) -> None:
        """As an image that can't be written to at all: the plan has no such wish, the engine has."""
        await self.stage.engine.ensure_bridge(BRIDGE, None)
        body = {
            "Image": plan.image,
            "Cmd": plan.command,
            "User": plan.user or "",
            "Labels": {"gpu-agent.agent": plan.agent},
            "HostConfig": {
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "CapAdd": list(plan.capabilities),
                "SecurityOpt": ["no-new-privileges"],
                "NetworkMode": BRIDGE,
                "PortBindings": {f"{SSH_PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(self.port)}]},
                "Binds": [
                    f"{mount.source}:{mount.target}:ro" for mount in plan.mounts if isinstance(mount, Mount)
                ],
            },
            "ExposedPorts": {f"{SSH_PORT}/tcp": {}},
        }
        reply = await self.stage.request("POST", f"/containers/create?name={plan.name}", body)
        self.container = json.loads(reply)["Id"]
        await self.stage.request("POST", f"/containers/{self.container}/start")
        await self.start_server()

    async def start_server(self) -> None:
        await self.execute(server_command(KEYS, f"{KEYS}/host_key"))
        async with asyncio.timeout(READY_SECONDS):
            while (await self.ssh("exit 0")).returncode != 0:
                await asyncio.sleep(0.1)

    async def execute(self, command: Sequence[str]) -> None:
        reply = await self.stage.request("POST", f"/containers/{self.container}/exec", {"Cmd": list(command)})
        await self.stage.request("POST", f"/exec/{json.loads(reply)['Id']}/start", {"Detach": True})

    def options(self, identity: Identity | None = None) -> list[str]:
        """The host key is pinned, as its public half says; nothing of the host's own SSH config counts."""
        known = self.folder / "known_hosts"
        kind, key = (self.keys / "host_key.pub").read_text().split()[:2]
        known.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        chosen = {
            "IdentitiesOnly": "yes",
            "IdentityFile": str((identity or self.identity).file),
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(known),
            "LogLevel": "ERROR",
            "BatchMode": "yes",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in chosen.items())]

    @property
    def ssh_command(self) -> list[str]:
        return [*self.stage.private.prefix, "ssh", *self.options(), "-p", str(self.port)]

    @property
    def address(self) -> str:
        return f"{self.user}@127.0.0.1"

    async def ssh(
        self,
        command: str,
        *options: str,
        identity: Identity | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        prefix = self.stage.private.prefix
        whole = [
            *prefix,
            "ssh",
            *self.options(identity),
            "-p",
            str(self.port),
            *options,
            self.address,
            command,
        ]
        return await self.call(whole, environment=environment)

    async def call(
        self, command: Sequence[str], *, text: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **(environment or {})},
        )
