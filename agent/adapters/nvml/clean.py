"""adapters/nvml/clean — whether a GPU is clean, out of what the child read of it. Pure; waits for nothing and kills nobody."""

from collections.abc import Mapping
from typing import Any

from agent.adapters.nvml.sightings import is_harmless

MIB = 1 << 20
# Contexts of monitoring tools and the driver come and go on an idle GPU.
SLACK_BYTES = 256 * MIB
# Of a GPU that was not yet seen idle. More than that is never learnt as idle: somebody left it there.
MOST_IDLE_BYTES = 1024 * MIB

Sheet = Mapping[str, Any]


def why_unclean(health: Sheet, processes: Sheet, idle_bytes: int | None) -> str | None:
    """None: clean. What can't be told speaks against it, but for what the GPU simply does not have."""
    for sheet in (health, processes):
        if "gpu" in sheet["faults"]:
            return f"it does not answer ({sheet['faults']['gpu']})"
    if running := processes.get("processes"):
        return "in use by process " + ", ".join(str(process["pid"]) for process in running)
    if processes.get("compute") is None or not is_harmless(processes["faults"].get("graphics")):
        return "its processes can't be listed"
    return _why_pending(health) or _why_full(health.get("used_bytes"), idle_bytes)


def _why_pending(health: Sheet) -> str | None:
    if health.get("is_remap_pending") or health.get("is_retirement_pending"):
        return "it wants a reset to take bad memory out of use"
    if health.get("has_remap_failed"):
        return "bad memory could not be taken out of use"
    if health.get("recovery_action"):
        return f"the driver asks for recovery action {health['recovery_action']}"
    return None


def _why_full(used_bytes: int | None, idle_bytes: int | None) -> str | None:
    if used_bytes is None:
        return "its memory in use can't be told"
    idle = MOST_IDLE_BYTES if idle_bytes is None else idle_bytes + SLACK_BYTES
    if used_bytes > idle:
        return f"{used_bytes // MIB} MiB in use, at most {idle // MIB} MiB when idle"
    return None


def idle_level(processes: Sheet) -> int | None:
    """What is in use on a GPU without processes; None where that is no idle GPU, or can't be told."""
    used = processes.get("used_bytes")
    if processes["faults"].get("gpu") or processes.get("compute") != {} or processes.get("graphics"):
        return None
    return used if used is not None and used <= MOST_IDLE_BYTES else None
