"""jobs/ssh_kit_missing — the error of a host that has no SSH kit. Looks for none."""

from agent.core.ssh_kit import KitTrouble
from agent.errors import AgentError, Blame


class SshKitMissingError(AgentError):
    """The kit that was there when the job was accepted can't be used any more."""

    code, blame = "ssh_kit_missing", Blame.HOST
    remedy = "The host's owner should run `gpu-agent kit build`; a job without `ssh` needs none."

    def __init__(self, trouble: KitTrouble) -> None:
        super().__init__(trouble.message)
