"""adapters/nvml/readings — what the child tells of GPUs: inventory, processes, health, samples. Judges nothing."""

from collections.abc import Callable, Iterable
from typing import Any

import pynvml

from agent.adapters.nvml.driver import Driver, Failure, Sheet, Unit, ask, instances

_UNCORRECTED, _SINCE_BOOT = 1, 0
_RECOVERY_ACTION = 230
_NODES = 0
_MIB = 1 << 20
_GIB = 1 << 30


def inventory(driver: Driver) -> dict[str, object]:
    """Each GPU on its own. One whose handle can't be had is a row without UUID, with the fault `gpu`."""
    about = Sheet()
    about.fill("driver", pynvml.nvmlSystemGetDriverVersion)
    rows: list[object] = []
    for index in range(driver.count()):
        sheet = Sheet(index=index)
        try:
            _describe(sheet, driver.gpu(index))
        except Failure as failure:
            sheet.faults["gpu"] = failure.code
        rows.append(sheet.values)
    return {**about.values, "gpus": rows}


def _describe(sheet: Sheet, gpu: Any) -> None:  # noqa: ANN401 - a handle
    sheet.fill("uuid", pynvml.nvmlDeviceGetUUID, gpu)
    sheet.fill("name", pynvml.nvmlDeviceGetName, gpu)
    sheet.fill("pci", _pci, gpu)
    sheet.fill("memory_bytes", _total_bytes, gpu)
    sheet.fill("minor", pynvml.nvmlDeviceGetMinorNumber, gpu)
    sheet.fill("numa_node", _numa_node, gpu)
    sheet.fill("fabric", _fabric, gpu)
    sheet.fill("is_mig", _is_mig, gpu)
    found = instances(gpu) if sheet.values["is_mig"] else ()
    sheet.values["instances"] = [_instance(slot, handle, gpu) for slot, handle in found]


def _instance(slot: int, handle: Any, gpu: Any) -> dict[str, object]:  # noqa: ANN401 - handles
    sheet = Sheet(slot=slot)
    sheet.fill("uuid", pynvml.nvmlDeviceGetUUID, handle)
    sheet.fill("profile", _profile, handle, gpu)
    sheet.fill("memory_bytes", _total_bytes, handle)
    return sheet.values


def _pci(gpu: Any) -> str:  # noqa: ANN401 - a handle
    return str(pynvml.nvmlDeviceGetPciInfo(gpu).busId).lower()


def _memory(handle: Any) -> Any:  # noqa: ANN401 - a handle
    """Since version 2 `used` is without what the driver keeps for itself; older drivers know version 1 only."""
    try:
        return ask(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    except Failure as failure:
        if failure.code != "function_not_found":
            raise
    return ask(pynvml.nvmlDeviceGetMemoryInfo, handle)


def _total_bytes(handle: Any) -> int:  # noqa: ANN401 - a handle
    return int(_memory(handle).total)


def _used_bytes(handle: Any) -> int:  # noqa: ANN401 - a handle
    return int(_memory(handle).used)


def _numa_node(gpu: Any) -> int | None:  # noqa: ANN401 - a handle
    """The nearest node with CPUs. (nvmlDeviceGetNumaNodeId tells of GPUs whose memory is a node itself.)"""
    (mask,) = pynvml.nvmlDeviceGetMemoryAffinity(gpu, 1, _NODES)
    return (mask & -mask).bit_length() - 1 if mask else None


def _is_mig(gpu: Any) -> bool:  # noqa: ANN401 - a handle
    current, _pending = pynvml.nvmlDeviceGetMigMode(gpu)
    return bool(current)


def _profile(instance: Any, gpu: Any) -> str:  # noqa: ANN401 - handles
    """The name ends in "MIG 1g.10gb"; where it does not, the profile is told by what the instance has."""
    try:
        _, is_named, profile = str(ask(pynvml.nvmlDeviceGetName, instance)).rpartition("MIG ")
    except Failure:
        is_named = profile = ""
    if is_named and profile:
        return profile.strip()
    has = ask(pynvml.nvmlDeviceGetAttributes_v2, instance)
    total = _total_bytes(gpu)
    # Profiles are named by eighths of the GPU's memory, rounded up, in GB that are GiB.
    eighths = -(-has.memorySizeMB * _MIB * 8 // total)
    gigabytes = round(eighths / 8 * -(-total // _GIB))
    slices, compute = has.gpuInstanceSliceCount, has.computeInstanceSliceCount
    return f"{'' if compute == slices else f'{compute}c.'}{slices}g.{gigabytes}gb"


def processes(driver: Driver, uuids: Iterable[str]) -> dict[str, object]:
    return _each(driver, uuids, _add_processes)


def _add_processes(sheet: Sheet, unit: Unit) -> None:
    """One process may be in both lists."""
    sheet.fill("used_bytes", _used_bytes, unit.handle)
    compute = sheet.fill("compute", _running, pynvml.nvmlDeviceGetComputeRunningProcesses_v3, unit.handle)
    graphics = sheet.fill("graphics", _running, pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3, unit.handle)
    sheet.values["processes"] = [
        {"pid": pid, "used_bytes": used} for pid, used in {**(graphics or {}), **(compute or {})}.items()
    ]


def _running(function: Callable[[Any], Any], handle: Any) -> dict[int, int | None]:  # noqa: ANN401 - a handle
    return {process.pid: process.usedGpuMemory for process in function(handle)}


def health(driver: Driver, uuids: Iterable[str]) -> dict[str, object]:
    """Of a MIG instance: its GPU's, since memory and links fail as a whole."""
    return _each(driver, uuids, _add_health)


def _add_health(sheet: Sheet, unit: Unit) -> None:
    gpu = unit.whole
    sheet.fill("used_bytes", _used_bytes, unit.handle)
    sheet.fill("ecc_uncorrected", pynvml.nvmlDeviceGetTotalEccErrors, gpu, _UNCORRECTED, _SINCE_BOOT)
    rows = sheet.fill("remapped_rows", pynvml.nvmlDeviceGetRemappedRows, gpu)
    sheet.values["is_remap_pending"] = None if rows is None else bool(rows[2])
    sheet.values["has_remap_failed"] = None if rows is None else bool(rows[3])
    pending = sheet.fill("retired_pages_pending", pynvml.nvmlDeviceGetRetiredPagesPendingStatus, gpu)
    sheet.values["is_retirement_pending"] = None if pending is None else bool(pending)
    sheet.fill("nvlinks", nvlinks, gpu)
    sheet.fill("fabric", _fabric, gpu)
    sheet.fill("recovery_action", _recovery_action, gpu)
    sheet.fill("slowdown_reasons", _slowdown_reasons, gpu)


def nvlinks(gpu: Any) -> list[bool]:  # noqa: ANN401 - a handle
    """Whether each link is up. Links are numbered from 0; the first number that is no link ends them."""
    states: list[bool] = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            states.append(bool(ask(pynvml.nvmlDeviceGetNvLinkState, gpu, link)))
        except Failure as failure:
            if failure.code not in {"not_supported", "invalid_argument"}:
                raise
            break
    return states


def _fabric(gpu: Any) -> dict[str, int]:  # noqa: ANN401 - a handle
    info = pynvml.c_nvmlGpuFabricInfo_v2_t()
    ask(pynvml.nvmlDeviceGetGpuFabricInfoV, gpu, pynvml.byref(info))
    return {"state": info.state, "status": info.status, "health_mask": info.healthMask}


def _recovery_action(gpu: Any) -> int:  # noqa: ANN401 - a handle
    (field,) = ask(pynvml.nvmlDeviceGetFieldValues, gpu, [_RECOVERY_ACTION])
    if field.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(field.nvmlReturn)
    return int(field.value.uiVal)


def _slowdown_reasons(gpu: Any) -> int:  # noqa: ANN401 - a handle
    """Drivers before 535 know it by its older name."""
    try:
        return int(ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, gpu))
    except Failure as failure:
        if failure.code != "function_not_found":
            raise
    return int(ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, gpu))


def sample(driver: Driver, uuids: Iterable[str]) -> dict[str, object]:
    return _each(driver, uuids, _add_sample)


def _add_sample(sheet: Sheet, unit: Unit) -> None:
    rates = sheet.fill("utilisation", pynvml.nvmlDeviceGetUtilizationRates, unit.handle)
    sheet.values["utilisation"] = None if rates is None else rates.gpu
    sheet.fill("used_bytes", _used_bytes, unit.handle)
    sheet.fill("celsius", pynvml.nvmlDeviceGetTemperature, unit.whole, pynvml.NVML_TEMPERATURE_GPU)
    sheet.fill("slowdown_reasons", _slowdown_reasons, unit.whole)
    if unit.handle is unit.whole:
        # The whole GPU's power is not what one of its MIG instances took.
        sheet.fill("power_milliwatts", pynvml.nvmlDeviceGetPowerUsage, unit.whole)
        sheet.fill("energy_millijoules", pynvml.nvmlDeviceGetTotalEnergyConsumption, unit.whole)


def _each(driver: Driver, uuids: Iterable[str], add: Callable[[Sheet, Unit], None]) -> dict[str, object]:
    sheets: dict[str, object] = {}
    for uuid, unit in driver.units(uuids):
        sheet = Sheet()
        if isinstance(unit, Failure):
            sheet.faults["gpu"] = unit.code
        else:
            add(sheet, unit)
        sheets[uuid] = sheet.values
    return sheets
