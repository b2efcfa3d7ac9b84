"""interfaces/chute_store — the rows of chutes and their versions, and the promises on each method. No implementation."""

from dataclasses import dataclass
from typing import Protocol

from agent.core.chute import Brief, Described, Version
from agent.core.job import Job, Viewer
from agent.errors import AgentError, Blame

# Of one owner. Each has up to 128 MiB on disk.
MOST_DESCRIBING = 16
# Of one owner, all versions that are kept: no guard looks at this part of the disk, and others' jobs would be ended for it.
MOST_CODE_BYTES = 8 << 30


class NoSuchChuteError(AgentError):
    """No chute, version or function of that name is this principal's."""

    code, blame = "chute_not_found", Blame.USER
    remedy = (
        "Check the name; `gpu-agent chute ls` lists your chutes, `gpu-agent chute show NAME` their functions."
    )


class ChuteInUseError(AgentError):
    """A chute whose jobs are not finished can't be removed: they run its code."""

    code, blame = "chute_in_use", Blame.USER
    remedy = "Stop its jobs, or wait until they are finished, then remove it."

    def __init__(self, name: str, jobs: int) -> None:
        super().__init__(f"{jobs} of the jobs of {name} are not finished")


class TooManyDeploysError(AgentError):
    """The principal has as many deploys under way as may be."""

    code, blame = "too_many_deploys", Blame.USER
    remedy = "Wait until those before it were described; GET /v1/chutes/versions/{id} tells."

    def __init__(self) -> None:
        super().__init__(
            f"{MOST_DESCRIBING} of your deploys are being described already, and more may not be"
        )


class TooMuchCodeError(AgentError):
    """The principal's chutes take as much of the host's disk as they may."""

    code, blame = "too_much_code", Blame.USER
    remedy = "Remove chutes that are not needed any more (gpu-agent chute rm), and let data into the image."

    def __init__(self) -> None:
        super().__init__(
            f"your chutes would have more than {MOST_CODE_BYTES >> 30} GiB of files, with all versions"
        )


@dataclass(frozen=True, slots=True)
class Deployed:
    """`is_replay`: of an earlier, same deploy that is being described or is the chute's current one."""

    version: Version
    is_replay: bool


class ChuteStore(Protocol):
    """Each method is one transaction, durable when it returns. All raise StoreUnavailableError."""

    async def add_version(self, version: Version) -> Deployed:
        """Insert it as describing, or return the one of the same owner and digest that is describing or active.

        Raises TooManyDeploysError, TooMuchCodeError.
        """
        ...

    async def settle_version(self, version_id: str, described: Described) -> Version | None:
        """What `core.chute.settle` makes of it; where it is active, the one before it is superseded, and the chute's schedules are
        those of `core.schedule.of_version`. None: there is no such version.
        """
        ...

    async def version(self, version_id: str, viewer: Viewer) -> Version | None: ...

    async def describing(self) -> list[Version]:
        """All that wait for their describe job, oldest first."""
        ...

    async def chutes(self, viewer: Viewer) -> list[Brief]:
        """The current version of each chute, by name."""
        ...

    async def chute(self, name: str, viewer: Viewer) -> Version | None:
        """The current version. Who sees all sees his own of that name first."""
        ...

    async def versions_of(self, chute: Version) -> list[Brief]:
        """Of the same chute: those that are kept, newest first."""
        ...

    async def unfinished_of(self, owner: str, chute: str) -> list[Job]:
        """All jobs of the owner's chute before finished, those that answer its cords among them, oldest first."""
        ...

    async def remove_chute(self, chute: Version) -> list[str]:
        """Remove all versions of the chute, and its schedules, unless some of its jobs are not finished. Their ids: the folders are the caller's to remove.

        Raises ChuteInUseError.
        """
        ...

    async def drop_stale_versions(self) -> list[str]:
        """Remove what `core.chute.choose_stale` names. Their ids: the folders are the caller's to remove."""
        ...

    async def version_ids(self) -> set[str]:
        """Of all that have files: not of those refused, and of whatever unfinished jobs run, if its row is gone."""
        ...
