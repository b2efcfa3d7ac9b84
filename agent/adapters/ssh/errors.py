"""adapters/ssh/errors — why no kit could be built. Raised by the builder alone: a kit that is missing or damaged is a value."""

from agent.errors import AgentError, Blame


class KitNotBuiltError(AgentError):
    """The SSH kit could not be built. What was there before is as it was."""

    code, blame = "ssh_kit_not_built", Blame.HOST
    remedy = (
        "Mend what the message names (mostly: `apt-get update`), and run `gpu-agent kit build` again. On a host without Debian's "
        "packages, copy the folder of a kit that was built on one with them."
    )

    def __init__(self, why: str) -> None:
        super().__init__(f"the SSH kit was not built: {why}")
