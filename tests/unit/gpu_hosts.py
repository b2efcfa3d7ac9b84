"""Hosts as they are sold, for tests and benches of the choice: GPUs in the order of their PCI addresses, and what links them."""

from itertools import combinations

from agent.core.gpus import Gpu
from agent.core.topology import LinkClass, Links

GIB = 2**30


def gpus(count: int, model: str, memory_gib: int, first: int = 0) -> tuple[Gpu, ...]:
    return tuple(
        Gpu(f"GPU-{number:02}", model, memory_gib * GIB, pci=f"00000000:{number + 1:02X}:00.0")
        for number in range(first, first + count)
    )


def link_groups(host: tuple[Gpu, ...], *levels: tuple[int, LinkClass]) -> Links:
    """`levels`: groups of so many neighbours, the smallest first, and what links the members of one."""
    pairs: dict[frozenset[str], LinkClass] = {}
    for (low, one), (high, other) in combinations(enumerate(host), 2):
        for size, link in levels:
            if low // size == high // size:
                pairs[frozenset((one.uuid, other.uuid))] = link
                break
    return Links(pairs)


NVSWITCH = gpus(8, "NVIDIA H100 80GB HBM3", 80)
NVSWITCH_LINKS = link_groups(NVSWITCH, (8, LinkClass.NVLINK))
PCIE = gpus(4, "NVIDIA L40S", 45)
PCIE_LINKS = link_groups(PCIE, (2, LinkClass.SAME_HOST_BRIDGE))
# Two pairs with a bridge of NVLink, two GPUs at one switch, two that share a node; of three kinds.
MIXED = (
    *gpus(4, "NVIDIA A100 80GB PCIe", 80),
    *gpus(2, "NVIDIA A100-PCIE-40GB", 40, 4),
    *gpus(2, "NVIDIA L4", 24, 6),
)
MIXED_LINKS = Links(
    {
        **link_groups(MIXED, (2, LinkClass.NVLINK), (4, LinkClass.SAME_NUMA_NODE)).pairs,
        frozenset((MIXED[4].uuid, MIXED[5].uuid)): LinkClass.SAME_PCIE_SWITCH,
        frozenset((MIXED[6].uuid, MIXED[7].uuid)): LinkClass.SAME_HOST_BRIDGE,
    }
)
HOSTS = {"nvswitch": (NVSWITCH, NVSWITCH_LINKS), "pcie": (PCIE, PCIE_LINKS), "mixed": (MIXED, MIXED_LINKS)}
