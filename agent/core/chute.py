"""core/chute — a version of a chute as a value: one deploy, from its upload on. Says what is so; what may come next is decided elsewhere."""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import UUID, uuid5

from agent.spec import Entry, Fault, Manifest

# Of all versions, one a version: a second daemon life asks for the same job.
_DESCRIBES = UUID("6d2f5b0e-6b1c-5f63-9c55-0d5c1a0f7e11")


# Of one owner. Each has up to 128 MiB on disk.
MOST_CHUTES = 200
TOO_MANY_CHUTES = Fault(
    "chute.name",
    "too_many_chutes",
    f"would be one more than the {MOST_CHUTES} chutes that one may have",
    "Remove one that is not needed any more (gpu-agent chute rm), then deploy again.",
)

# Of one owner, all chutes and containers together.
MOST_SCHEDULES = 1_000
TOO_MANY_SCHEDULES = Fault(
    "jobs",
    "too_many_schedules",
    f"would have more than {MOST_SCHEDULES} schedules, with your others",
    "Remove some that are not needed any more (gpu-agent schedule rm), or declare fewer.",
)


class VersionState(StrEnum):
    """The edges: describing → active or refused; active → superseded."""

    DESCRIBING = "describing"
    ACTIVE = "active"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


# How many of each stay. One that is refused has no files any more.
KEPT = {VersionState.SUPERSEDED: 5, VersionState.REFUSED: 50}


@dataclass(frozen=True, slots=True)
class Version:
    """One row. `chute` and `number` are known once its file was described; `defaults`: the deploy's `spec`, secrets masked."""

    id: str
    owner: str
    digest: str  # of the deploy and of the files
    image: str
    entry: Entry
    created_at: float
    defaults: dict[str, object] = field(default_factory=dict)
    state: VersionState = VersionState.DESCRIBING
    chute: str | None = None
    number: int | None = None
    manifest: Manifest | None = None
    faults: tuple[Fault, ...] = ()
    seq: int = 0
    size_bytes: int = 0  # of its files, as long as it has any
    catch_up: bool = False  # of its schedules

    @property
    def describe_job(self) -> str:
        """The id of the job that imports its file. A version has one, however often it is asked for."""
        return str(uuid5(_DESCRIBES, self.id))


@dataclass(frozen=True, slots=True)
class Brief:
    """A version without what its file declares, which may be large: for lists. `jobs`: their names."""

    id: str
    owner: str
    chute: str
    number: int | None
    state: VersionState
    created_at: float
    image: str
    entry: str
    jobs: tuple[str, ...]


def brief_of(version: Version) -> Brief:
    """Of one that was described."""
    jobs = () if version.manifest is None else tuple(job.name for job in version.manifest.jobs)
    return Brief(
        version.id,
        version.owner,
        str(version.chute),
        version.number,
        version.state,
        version.created_at,
        version.image,
        version.entry.text,
        jobs,
    )


@dataclass(frozen=True, slots=True)
class Described:
    """What the describe job brought to light. A manifest: the version becomes the chute's current one."""

    manifest: Manifest | None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that is no chute's current one, as far as its end goes."""

    id: str
    owner: str
    state: VersionState
    chute: str | None
    seq: int


@dataclass(frozen=True, slots=True)
class Owned:
    """What the owner of a version has: `chutes`, and `schedules` of anything but this chute."""

    chutes: int
    schedules: int = 0


def settle(version: Version, described: Described, before: Version | None, owned: Owned) -> Version:
    """What the row becomes. `before`: the current version of the same chute.

    A version that was settled before stays as it is.
    """
    if version.state is not VersionState.DESCRIBING:
        return version
    manifest = described.manifest
    if manifest is not None and before is None and owned.chutes >= MOST_CHUTES:
        described = Described(None, (TOO_MANY_CHUTES,))
    elif manifest is not None and owned.schedules + _count_schedules(manifest) > MOST_SCHEDULES:
        described = Described(None, (TOO_MANY_SCHEDULES,))
    if described.manifest is None:
        return replace(version, state=VersionState.REFUSED, faults=described.faults)
    return replace(
        version,
        state=VersionState.ACTIVE,
        chute=described.manifest.chute.name,
        number=1 if before is None else (before.number or 0) + 1,
        manifest=described.manifest,
    )


def _count_schedules(manifest: Manifest) -> int:
    return sum(job.schedule is not None for job in manifest.jobs)


def choose_stale(kept: Sequence[Kept], in_use: AbstractSet[str]) -> list[str]:
    """Whose time is over: of each chute all but its newest superseded versions, of each owner all but the newest refused ones; none
    whose jobs are not finished.
    """
    seen: Counter[tuple[str, VersionState, str | None]] = Counter()
    stale = []
    for version in sorted(kept, key=lambda found: found.seq, reverse=True):
        group = version.owner, version.state, version.chute
        seen[group] += 1
        if seen[group] > KEPT.get(version.state, seen[group]) and version.id not in in_use:
            stale.append(version.id)
    return stale
