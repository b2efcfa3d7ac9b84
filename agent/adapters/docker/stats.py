"""adapters/docker/stats — the engine's reading of one container, as our value. Pure; asks no engine."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.container_stats import ContainerStats

Json = Mapping[str, Any]


def stats_of(answer: Json) -> ContainerStats | None:
    """`GET /containers/{id}/stats`. Of one that does not run the engine tells nothing but zeros."""
    memory = answer.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    networks = [network for network in (answer.get("networks") or {}).values() if network]
    blocks = (answer.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    return ContainerStats(
        cpu_seconds=answer["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory_bytes=_in_use(memory),
        memory_limit_bytes=memory.get("limit"),
        pids=(answer.get("pids_stats") or {}).get("current"),
        received_bytes=sum(network["rx_bytes"] for network in networks) if networks else None,
        sent_bytes=sum(network["tx_bytes"] for network in networks) if networks else None,
        read_bytes=_block_bytes(blocks, "read"),
        written_bytes=_block_bytes(blocks, "write"),
    )


def _in_use(memory: Json) -> int:
    """Without what the kernel may drop at any time, as `docker stats` shows it (cgroup v2, then v1)."""
    told = memory.get("stats") or {}
    droppable = int(told.get("inactive_file", told.get("total_inactive_file", 0)))
    used = int(memory["usage"])
    return used - droppable if droppable < used else used


def _block_bytes(blocks: Sequence[Mapping[str, Any]], operation: str) -> int | None:
    """None where the kernel accounts for no device."""
    found = [int(block["value"]) for block in blocks if str(block["op"]).lower() == operation]
    return sum(found) if found else None
