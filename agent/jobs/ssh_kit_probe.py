"""jobs/ssh_kit_probe — what /health and the doctor say of the SSH kit. Builds none."""

from collections.abc import Awaitable, Callable

from agent.core.ssh_kit import KitTrouble, SshKit
from agent.jobs.health import CheckState, Finding, Probe


def ssh_kit_probe(look: Callable[[], Awaitable[SshKit | KitTrouble]]) -> Probe:
    async def probe() -> Finding:
        match await look():
            case KitTrouble(message, remedy):
                told = "there is no SSH kit that can be used: jobs with `ssh` are refused"
                return Finding(CheckState.WARN, told, remedy, private=message)
            case SshKit() as kit:
                return Finding(CheckState.OK, kit.version, private=f"{kit.path}: {kit.version}")

    return probe
