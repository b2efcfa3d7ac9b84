"""adapters/nvml/facts — what the child read of a GPU, in the words of the core: its health, whether it is clean, and what it does. Pure."""

from collections.abc import Mapping
from typing import Any

from agent.adapters.nvml.clean import why_unclean
from agent.core.gpu_findings import Absence, Fabric, Facts, Gate, GateVerdict, Recovery, Slowdown
from agent.core.gpu_usage import NOTHING_TOLD, GpuSample

Sheet = Mapping[str, Any]

# nvml.h: nvmlGpuFabricState_t, nvmlDeviceGpuRecoveryAction_t, nvmlClocksEventReasons.
_FABRIC_NONE, _FABRIC_COMPLETED = 0, 3
_RECOVERIES = {
    0: Recovery.NONE,
    1: Recovery.RESET,
    2: Recovery.REBOOT,
    3: Recovery.DRAIN_P2P,
    4: Recovery.DRAIN_AND_RESET,
}
_SLOWDOWNS = {
    0x20: Slowdown.SOFTWARE_THERMAL,
    0x40: Slowdown.HARDWARE_THERMAL,
    0x80: Slowdown.POWER_BRAKE,
}
# A GPU that hangs is there, and nobody can ask it.
_LOST, _WANTS_RESET = "gpu_lost", "reset_required"
_SILENT = frozenset({"skipped", "timeout", "in_use"})


def facts_of(sheet: Sheet, links_once_up: frozenset[int]) -> Facts | Absence:
    """`links_once_up`: the NVLinks that were seen up before. One that never was may well have nothing at its other end."""
    faults = sheet["faults"]
    if "gpu" in faults:
        return Absence.DRIVER_SILENT if faults["gpu"] in _SILENT else Absence.GONE
    if _LOST in faults.values():
        return Absence.GONE  # it still tells its name, and nothing else
    action = 1 if _WANTS_RESET in faults.values() else sheet.get("recovery_action") or 0
    return Facts(
        ecc_uncorrected=sheet.get("ecc_uncorrected"),
        remap_pending=sheet.get("is_remap_pending"),
        remap_failed=sheet.get("has_remap_failed"),
        retirement_pending=sheet.get("is_retirement_pending"),
        nvlink_down=links_once_up - links_up(sheet) if sheet.get("nvlinks") is not None else frozenset(),
        fabric=_fabric(sheet.get("fabric")),
        recovery=_RECOVERIES.get(action, Recovery.RESET),
        slowdowns=_slowdowns(sheet.get("slowdown_reasons") or 0),
    )


def sample_of(sheet: Sheet) -> GpuSample | None:
    """None where nothing is told: the GPU is gone, or hangs."""
    power, energy, reasons = (
        sheet.get(name) for name in ("power_milliwatts", "energy_millijoules", "slowdown_reasons")
    )
    sample = GpuSample(
        utilisation_percent=sheet.get("utilisation"),
        used_bytes=sheet.get("used_bytes"),
        power_watts=None if power is None else power / 1000,
        celsius=sheet.get("celsius"),
        slowdowns=None if reasons is None else _slowdowns(reasons),
        energy_joules=None if energy is None else energy / 1000,
    )
    return None if sample == NOTHING_TOLD else sample


def _slowdowns(reasons: int) -> frozenset[Slowdown]:
    return frozenset(slowdown for bit, slowdown in _SLOWDOWNS.items() if reasons & bit)


def links_up(sheet: Sheet) -> frozenset[int]:
    return frozenset(number for number, is_up in enumerate(sheet.get("nvlinks") or ()) if is_up)


def gate_of(health: Sheet, processes: Sheet, idle_bytes: int | None) -> Gate:
    """One that can't be asked is not looked at: whether it is clean nobody can tell."""
    if "gpu" in health["faults"] or "gpu" in processes["faults"]:
        return Gate(GateVerdict.NOT_LOOKED)
    why = why_unclean(health, processes, idle_bytes)
    if why is None:
        return Gate(GateVerdict.PASSED)
    is_in_use = bool(processes.get("processes"))
    return Gate(GateVerdict.FOREIGN if is_in_use else GateVerdict.LEFTOVER, why)


def _fabric(told: Mapping[str, int] | None) -> Fabric | None:
    if told is None or told["state"] == _FABRIC_NONE:
        return None
    if told["state"] != _FABRIC_COMPLETED:
        return Fabric.STARTING
    return Fabric.READY if told["status"] == 0 else Fabric.FAILED
