"""core/gpu_health — the state of one GPU, and what a look at it changes. Pure: looks at no GPU, stops no job, writes nothing.

What is wrong is a set of needs: each goes when its own time has come, and a GPU with none left is well. A restart of the
daemon is none of them. A GPU in state `resetting` is an order to the shell to reset it, which stands until that was told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.core.gpu_findings import (
    Asked,
    Facts,
    Fate,
    Finding,
    GateVerdict,
    GpuReason,
    GpuState,
    Need,
    Sight,
    of_absence,
    of_facts,
    of_failed_reset,
    of_gate,
    of_old_xid,
    of_xid,
)
from agent.core.gpu_record import MOST_HISTORY, MOST_TOLD, Change, GpuHealth
from agent.core.job import NewEvent, Now, Reason
from agent.core.reasons import CATALOGUE, reason
from agent.core.xid_reports import settle
from agent.core.xids import XidAction, XidTable

# Slow-downs come and go with the load: without a while between, each would be an event every few seconds.
QUIET_SECONDS = 60.0

ALL_GPUS = "*"


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    probation_seconds: float
    xids: XidTable


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not granted, for whoever asked."""

    code: str
    words: str


@dataclass(frozen=True, slots=True)
class Effects:
    """What the shell is to do: `why` goes with `fate`, for the job that holds the GPU if there is one; warnings are for the log."""

    fate: Fate = Fate.NOTHING
    why: Reason | None = None
    events: tuple[NewEvent, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: Refusal | None = None


def is_leasable(health: GpuHealth) -> bool:
    return health.state is GpuState.OK


def is_used(uuid: str, use: Sequence[str]) -> bool:
    """Whether the config's `[gpus] use` names the GPU."""
    return ALL_GPUS in use or uuid in use


def unleasable(uuids: Iterable[str], healths: Mapping[str, GpuHealth], use: Sequence[str]) -> set[str]:
    """Those that no job may get. One that nobody has judged yet is among them."""
    return {
        uuid
        for uuid in uuids
        if uuid not in healths or not is_leasable(healths[uuid]) or not is_used(uuid, use)
    }


def probation_left(health: GpuHealth, now: Now, policy: HealthPolicy) -> float | None:
    """Seconds until the GPU is well again if nothing more is seen; None where it waits for somebody."""
    if Need.PROBATION not in health.needs or health.needs & _BY_SOMEBODY or not _is_here(health.state):
        return None
    return max(0.0, policy.probation_seconds - _clean_seconds(health, now))


def judge(health: GpuHealth, sight: Sight, now: Now, policy: HealthPolicy) -> tuple[GpuHealth, Effects]:
    """The GPU after a look at it, and what to do about it. The health is written before anything is done."""
    after = _after_reset(_after_boot(health, now), sight)
    found = _findings(after, sight, policy.xids)
    ill = tuple(finding for finding in found if finding.state is not GpuState.OK)
    after = _worsen(after, ill)
    after = _improve(_count_clean(after, sight, ill, now), sight, now, policy)
    after, refusal = _obey(after, sight, ill)
    after = settle(after, sight if refusal is None else replace(sight, request=None), now)
    unknown = _untold(health, (*sight.xids, *sight.old_xids), policy.xids)
    after = replace(_remember(after, sight), told_xids=(*health.told_xids, *unknown)[-MOST_TOLD:])
    after, events = _tell(health, after, now)
    fate, why = _fate(health, found)
    warnings = tuple(f"XID {xid} of {health.uuid} is not in the table" for xid in unknown)
    return after, Effects(fate, why, events, warnings, refusal)


_STATES = tuple(GpuState)
_FATES = tuple(Fate)
# From what passes soonest to what takes most. The operator's own hold says nothing of the GPU.
_NEEDS = (Need.OPERATOR, Need.QUIET, Need.CLEAN, Need.PROBATION, Need.RESET, Need.REBOOT)
_BY_BOOT = frozenset({Need.RESET, Need.REBOOT})
_BY_SOMEBODY = _BY_BOOT | {Need.OPERATOR}


def _is_here(state: GpuState) -> bool:
    return state not in (GpuState.MISSING, GpuState.RESETTING)


def _findings(health: GpuHealth, sight: Sight, xids: XidTable) -> tuple[Finding, ...]:
    found = [of_xid(xid, xids) for xid in dict.fromkeys(sight.xids)]
    found += [of_old_xid(xid, xids) for xid in dict.fromkeys(sight.old_xids)]
    if isinstance(sight.facts, Facts):
        found += of_facts(sight.facts, health.ecc_uncorrected)
    elif health.state is not GpuState.RESETTING:  # a reset takes the GPU away for a while
        found.append(of_absence(sight.facts))
    found.append(of_gate(sight.gate))
    return tuple(finding for finding in found if finding is not None)


def _after_boot(health: GpuHealth, now: Now) -> GpuHealth:
    """A boot resets all GPUs, and its clock starts anew, so probation does."""
    if health.boot_id == now.boot.boot_id:
        return health
    return replace(
        health,
        state=GpuState.QUARANTINED if health.state is GpuState.RESETTING else health.state,
        needs=health.needs - _BY_BOOT,
        boot_id=now.boot.boot_id,
        clean_since=None,
        log_record=None,
        cleared_at=None,
    )


def _after_reset(health: GpuHealth, sight: Sight) -> GpuHealth:
    """Where it failed that is told, unless worse is found with it: somebody asked for it, and waits."""
    if health.state is not GpuState.RESETTING or sight.reset is None:
        return health
    ended = replace(health, state=GpuState.QUARANTINED, needs=health.needs - {Need.RESET}, clean_since=None)
    if sight.reset.failure is None:
        return ended
    failed = of_failed_reset(sight.reset.failure)
    return replace(ended, reason=failed.reason, words=failed.words, needs=ended.needs | failed.needs)


def _worsen(health: GpuHealth, ill: Iterable[Finding]) -> GpuHealth:
    """What is found adds to what is needed; the reason is that of the worst, and of equals the first."""
    for finding in ill:
        if _severity(finding.state, finding.needs) > _severity(health.state, health.needs):
            health = replace(health, state=finding.state, reason=finding.reason, words=finding.words)
        health = replace(health, needs=health.needs | finding.needs)
    return health


def _severity(state: GpuState, needs: Iterable[Need]) -> tuple[int, int]:
    return _STATES.index(state), max((_NEEDS.index(need) for need in needs), default=0)


def _count_clean(health: GpuHealth, sight: Sight, ill: Sequence[Finding], now: Now) -> GpuHealth:
    is_clean = isinstance(sight.facts, Facts) and not ill and health.state is not GpuState.RESETTING
    if not is_clean or not health.needs:
        return replace(health, clean_since=None)
    return health if health.clean_since is not None else replace(health, clean_since=now.boot.seconds)


def _clean_seconds(health: GpuHealth, now: Now) -> float:
    if health.clean_since is None or health.boot_id != now.boot.boot_id:
        return 0.0
    return now.boot.seconds - health.clean_since


def _improve(health: GpuHealth, sight: Sight, now: Now, policy: HealthPolicy) -> GpuHealth:
    """Take off the needs whose time has come. Without a clean look none has."""
    if health.clean_since is None:
        return health
    state = health.state
    if state is GpuState.MISSING and Need.REBOOT not in health.needs:
        state = GpuState.QUARANTINED
    met: set[Need] = set()
    clean_seconds, passed = _clean_seconds(health, now), sight.gate.verdict is GateVerdict.PASSED
    if clean_seconds >= min(QUIET_SECONDS, policy.probation_seconds):
        met.add(Need.QUIET)
    if passed:
        met.add(Need.CLEAN)
    if passed and not health.needs & _BY_BOOT and clean_seconds >= policy.probation_seconds:
        met.add(Need.PROBATION)
    return _well_if_nothing_is_left(replace(health, state=state, needs=health.needs - met))


def _well_if_nothing_is_left(health: GpuHealth) -> GpuHealth:
    if health.needs:
        return health
    return replace(health, state=GpuState.OK, reason=None, words="", clean_since=None)


def _obey(health: GpuHealth, sight: Sight, ill: Sequence[Finding]) -> tuple[GpuHealth, Refusal | None]:
    if sight.request is None:
        return health, None
    words = sight.request.words or f"an operator asked for: {sight.request.asked}"
    match sight.request.asked:
        case Asked.QUARANTINE:
            return _worsen(health, [_hold(GpuState.QUARANTINED, words, Need.OPERATOR)]), None
        case Asked.RESTORE:
            refusal = _refuse_restore(health, sight, ill)
            restored = _well_if_nothing_is_left(replace(health, needs=frozenset()))
        case Asked.RESET:
            refusal = _refuse_reset(health, sight)
            restored = _worsen(health, [_hold(GpuState.RESETTING, words, Need.PROBATION)])
            restored = replace(restored, clean_since=None)
    return (health, refusal) if refusal is not None else (restored, None)


def _hold(state: GpuState, words: str, need: Need) -> Finding:
    return Finding(state, GpuReason.OPERATOR, words, frozenset({need}))


def _refuse_restore(health: GpuHealth, sight: Sight, ill: Sequence[Finding]) -> Refusal | None:
    """An operator may cut a probation short and take his own word back, and nothing else."""
    if Need.REBOOT in health.needs:
        return Refusal("gpu_needs_reboot", f"{health.words}; only a reboot of the host mends it")
    if not _is_here(health.state):
        return Refusal("gpu_not_here", f"the GPU is {health.state}")
    if Need.RESET in health.needs:
        return Refusal("gpu_needs_reset", f"{health.words}; reset it, or reboot the host")
    if ill:
        return Refusal("gpu_unwell", "; ".join(finding.words for finding in ill))
    if Need.CLEAN in health.needs and sight.gate.verdict is not GateVerdict.PASSED:
        return Refusal("gpu_busy_foreign", health.words)
    return None


def _refuse_reset(health: GpuHealth, sight: Sight) -> Refusal | None:
    if sight.is_leased:
        return Refusal("gpu_leased", "a job holds the GPU; cancel it or wait for its end")
    if health.state is GpuState.MISSING:
        return Refusal("gpu_not_here", f"{health.words}; what is missing can't be reset: reboot the host")
    if sight.gate.verdict in (GateVerdict.FOREIGN, GateVerdict.HELD):
        return Refusal("gpu_busy_foreign", f"in use: {sight.gate.holders}")
    return None


def _remember(health: GpuHealth, sight: Sight) -> GpuHealth:
    if not isinstance(sight.facts, Facts) or sight.facts.ecc_uncorrected is None:
        return health
    return replace(health, ecc_uncorrected=sight.facts.ecc_uncorrected)


def _untold(health: GpuHealth, xids: Iterable[int], table: XidTable) -> list[int]:
    return [
        xid
        for xid in dict.fromkeys(xids)
        if table.action(xid) is XidAction.SUSPECT and xid not in health.told_xids
    ]


def _tell(before: GpuHealth, after: GpuHealth, now: Now) -> tuple[GpuHealth, tuple[NewEvent, ...]]:
    if (before.state, before.reason) == (after.state, after.reason):
        return after, ()
    change = Change(now.wall, before.state, after.state, after.reason, after.words)
    event = NewEvent(
        "gpu.state",
        {
            "gpu": after.uuid,
            "from": before.state,
            "to": after.state,
            "reason": after.reason,
            "words": after.words,
            "needs": sorted(after.needs),
        },
    )
    return replace(after, since=now.wall, history=(*before.history, change)[-MOST_HISTORY:]), (event,)


def _fate(before: GpuHealth, found: Sequence[Finding]) -> tuple[Fate, Reason | None]:
    """The worst that was found; of equals the host's fault, since a program fails by it in ways that look like its own."""
    worst = max(
        found, key=lambda finding: (_FATES.index(finding.fate), finding.state != GpuState.OK), default=None
    )
    if worst is None or worst.code is None:
        return Fate.NOTHING, None
    if worst.state is GpuState.OK and not _is_trusted(before):
        return Fate.NOTHING, None
    text = f"{CATALOGUE[worst.code].message}: {worst.words} ({before.uuid})"
    return worst.fate, reason(worst.code, text)


def _is_trusted(health: GpuHealth) -> bool:
    """Whether an error of a program's kind is the program's. On a GPU that had failed before it may well be the GPU's."""
    return health.state in (GpuState.OK, GpuState.SUSPECT) or health.reason is GpuReason.OPERATOR
