"""core/gpu_findings — what one look at a GPU gives cause for. Pure: facts in, findings out; what follows is core/gpu_health's."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from agent.core.xids import XidAction, XidTable, describe


class GpuState(StrEnum):
    """From well to worst. Only `ok` is ever leased."""

    OK = "ok"
    SUSPECT = "suspect"
    QUARANTINED = "quarantined"
    RESETTING = "resetting"
    MISSING = "missing"


class Need(StrEnum):
    """What must still come before a GPU is well again. It is when nothing is left of them."""

    QUIET = "quiet"  # what was seen stays away for a minute
    CLEAN = "clean"  # the gate passes: no process, memory back to idle
    PROBATION = "probation"  # nothing is seen for the config's `probation`, and the gate passes
    RESET = "reset"  # a reset by the operator, or a boot
    REBOOT = "reboot"
    OPERATOR = "operator"  # the operator's word


class GpuReason(StrEnum):
    """Why a GPU is not well."""

    XID = "xid"
    XID_UNKNOWN = "xid_unknown"
    ECC_UNCORRECTED = "ecc_uncorrected"
    REMAP_PENDING = "remap_pending"
    REMAP_FAILED = "remap_failed"
    RETIREMENT_PENDING = "retirement_pending"
    NVLINK_DOWN = "nvlink_down"
    FABRIC_NOT_READY = "fabric_not_ready"
    RECOVERY_ACTION = "recovery_action"
    SLOWDOWN = "slowdown"
    NOT_CLEAN = "gpu_not_clean"
    BUSY_FOREIGN = "gpu_busy_foreign"
    HELD = "gpu_held"
    GONE = "gone"
    DRIVER_SILENT = "driver_silent"
    RESET_FAILED = "reset_failed"
    OPERATOR = "operator"
    RECORD_UNREADABLE = "record_unreadable"


# Their words may name processes, which may be another principal's: for who looks after the host.
_OF_PROCESSES = frozenset(
    {GpuReason.NOT_CLEAN, GpuReason.BUSY_FOREIGN, GpuReason.HELD, GpuReason.RESET_FAILED}
)
UNTOLD = "an operator of the host is told more"


def public_words(why: GpuReason | None, words: str) -> str:
    """What anybody who may ask is told (I10)."""
    return f"{why}; {UNTOLD}" if why in _OF_PROCESSES else words


class Fate(StrEnum):
    """What becomes of a job that holds the GPU, from nothing to worst."""

    NOTHING = "nothing"
    BLAME = "blame"  # it goes on; if it fails by itself, this is why
    STOP = "stop"
    LOST = "lost"


class Slowdown(StrEnum):
    """The causes of a lower clock that say something of the host. A power cap and idleness do not."""

    POWER_BRAKE = "power brake"
    HARDWARE_THERMAL = "too hot, by the hardware"
    SOFTWARE_THERMAL = "too hot, by the driver"


class Fabric(StrEnum):
    READY = "ready"  # complete, and with success
    STARTING = "starting"
    FAILED = "failed"


class Recovery(StrEnum):
    """The driver's own advice (field 230)."""

    NONE = "none"
    RESET = "reset"
    REBOOT = "reboot"
    DRAIN_P2P = "drain_p2p"
    DRAIN_AND_RESET = "drain_and_reset"


class Absence(StrEnum):
    """Why there are no facts."""

    GONE = "gone"  # the driver answers, and does not have this GPU, or says that it is lost
    DRIVER_SILENT = "driver_silent"  # nobody can ask the driver


@dataclass(frozen=True, slots=True)
class Facts:
    """What the driver says of a GPU now. None: not supported or not read, which is no fault.

    `ecc_uncorrected` is always the same counter of the driver's. `nvlink_down`: links that should be up.
    """

    ecc_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    retirement_pending: bool | None = None
    nvlink_down: frozenset[int] = frozenset()
    fabric: Fabric | None = None
    recovery: Recovery | None = None
    slowdowns: frozenset[Slowdown] = frozenset()


class GateVerdict(StrEnum):
    NOT_LOOKED = "not_looked"  # the GPU is leased, or the gate is still within its time
    PASSED = "passed"
    LEFTOVER = "leftover"  # a process of ours, or memory that nobody owns, after `clean_timeout`
    FOREIGN = "foreign"  # a process that is not ours
    HELD = "held"  # it is not ours to look at: another agent has it, as far as can be told


@dataclass(frozen=True, slots=True)
class Gate:
    """`holders`: pid, container and command of each, as the words of an event say it."""

    verdict: GateVerdict = GateVerdict.NOT_LOOKED
    holders: str = ""


NOT_LOOKED = Gate()


class Asked(StrEnum):
    QUARANTINE = "quarantine"
    RESTORE = "restore"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks for, and why, in his words."""

    asked: Asked
    words: str = ""


@dataclass(frozen=True, slots=True)
class ResetEnd:
    """`failure` is None where the reset was done."""

    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a GPU. `xids`: all since the last look that this boot has had, those before the daemon's start too.

    `old_xids` came before the time of the job that holds it. `log_record`: the newest of the kernel's log that was read of it.
    """

    facts: Facts | Absence
    xids: tuple[int, ...] = ()
    old_xids: tuple[int, ...] = ()
    log_record: int | None = None
    gate: Gate = NOT_LOOKED
    request: Request | None = None
    reset: ResetEnd | None = None
    is_leased: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, and what it asks for. An application's own fault leaves the GPU `ok`. `code` is the job's reason."""

    state: GpuState
    reason: GpuReason
    words: str
    needs: frozenset[Need] = frozenset()
    fate: Fate = Fate.NOTHING
    code: str | None = None


_WATCHED = frozenset({Need.PROBATION})
_UNTIL_RESET = frozenset({Need.RESET, Need.PROBATION})
_UNTIL_BOOT = frozenset({Need.REBOOT, Need.PROBATION})
_BRIEFLY = frozenset({Need.QUIET})


def of_xid(xid: int, table: XidTable) -> Finding | None:
    """What an XID asks for; None where it is to be ignored."""
    words = describe(xid)
    match table.action(xid):
        case XidAction.APPLICATION:
            return Finding(GpuState.OK, GpuReason.XID, words, fate=Fate.BLAME, code="gpu_fault_application")
        case XidAction.RESET:
            return Finding(GpuState.QUARANTINED, GpuReason.XID, words, _UNTIL_RESET, Fate.STOP, "gpu_fault")
        case XidAction.LOST:
            return Finding(GpuState.MISSING, GpuReason.XID, words, _UNTIL_BOOT, Fate.LOST, "gpu_lost")
        case XidAction.FACTS:
            return _fault(GpuReason.XID, words)
        case XidAction.SUSPECT:
            return Finding(GpuState.SUSPECT, GpuReason.XID_UNKNOWN, words, _WATCHED)
        case XidAction.IGNORE:
            return None


def of_old_xid(xid: int, table: XidTable) -> Finding | None:
    """One from before the time of the job that holds the GPU: it says something of the GPU, and nothing of that job."""
    finding = of_xid(xid, table)
    return None if finding is None else replace(finding, fate=Fate.NOTHING, code=None)


def of_absence(absence: Absence) -> Finding:
    """A job may well go on while nobody can ask the driver, and one on a GPU that is gone will see so itself."""
    if absence is Absence.GONE:
        words = "the driver no longer has this GPU"
        return Finding(GpuState.MISSING, GpuReason.GONE, words, _WATCHED, Fate.BLAME, "gpu_lost")
    return Finding(GpuState.MISSING, GpuReason.DRIVER_SILENT, "the driver can't be asked", _WATCHED)


def of_facts(facts: Facts, ecc_before: int | None) -> Iterator[Finding]:
    """`ecc_before` is the counter as last seen. One that goes back was reset with the driver: no fault."""
    errors = facts.ecc_uncorrected
    if errors is not None and ecc_before is not None and errors > ecc_before:
        yield _fault(GpuReason.ECC_UNCORRECTED, f"{errors - ecc_before} uncorrected memory error(s)")
    if facts.remap_failed:
        yield _fault(GpuReason.REMAP_FAILED, "a bad row of memory could not be remapped")
    if facts.remap_pending:
        yield _fault(
            GpuReason.REMAP_PENDING, "a bad row of memory is remapped by the next reset", _UNTIL_RESET
        )
    if facts.retirement_pending:
        yield _fault(
            GpuReason.RETIREMENT_PENDING, "a bad page of memory is retired by the next reset", _UNTIL_RESET
        )
    if facts.nvlink_down:
        yield _fault(GpuReason.NVLINK_DOWN, f"NVLink {', '.join(map(str, sorted(facts.nvlink_down)))} down")
    if facts.recovery not in (None, Recovery.NONE):
        needs = _UNTIL_BOOT if facts.recovery is Recovery.REBOOT else _UNTIL_RESET
        yield _fault(GpuReason.RECOVERY_ACTION, f"the driver advises: {facts.recovery}", needs)
    yield from _of_conditions(facts)


def _of_conditions(facts: Facts) -> Iterator[Finding]:
    if facts.fabric is Fabric.FAILED:
        yield _fault(GpuReason.FABRIC_NOT_READY, "the GPU could not join the NVLink fabric")
    if facts.fabric is Fabric.STARTING:
        words = "the GPU has not joined the NVLink fabric yet"
        yield Finding(GpuState.SUSPECT, GpuReason.FABRIC_NOT_READY, words, _BRIEFLY)
    if facts.slowdowns:
        words = f"slowed down: {', '.join(sorted(facts.slowdowns))}"
        yield Finding(GpuState.SUSPECT, GpuReason.SLOWDOWN, words, _BRIEFLY)


def of_gate(gate: Gate) -> Finding | None:
    """A process that is not ours is never killed: the GPU waits until it is gone."""
    match gate.verdict:
        case GateVerdict.LEFTOVER:
            words = f"not clean after its job: {gate.holders or 'memory that no process holds'}"
            return Finding(GpuState.SUSPECT, GpuReason.NOT_CLEAN, words, _WATCHED)
        case GateVerdict.FOREIGN:
            words = f"in use by a process that is not the agent's: {gate.holders}"
            return Finding(GpuState.SUSPECT, GpuReason.BUSY_FOREIGN, words, frozenset({Need.CLEAN}))
        case GateVerdict.HELD:
            return Finding(GpuState.SUSPECT, GpuReason.HELD, gate.holders, frozenset({Need.CLEAN}))
        case _:
            return None


def of_failed_reset(words: str) -> Finding:
    return Finding(GpuState.QUARANTINED, GpuReason.RESET_FAILED, f"the reset failed: {words}", _UNTIL_RESET)


def _fault(reason: GpuReason, words: str, needs: frozenset[Need] = _WATCHED) -> Finding:
    """The host's fault, which a job may survive."""
    return Finding(GpuState.QUARANTINED, reason, words, needs, Fate.BLAME, "gpu_fault")
