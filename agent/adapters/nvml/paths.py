"""adapters/nvml/paths — what lies between each two GPUs, as a link class. Runs in the child; chooses no GPUs."""

from itertools import combinations
from typing import Any, NamedTuple

import pynvml

from agent.adapters.nvml.driver import Driver, Failure, ask
from agent.adapters.nvml.readings import nvlinks

# The numbers of core.topology.LinkClass, which the child does not import.
_NVLINK = 4
_BY_ANCESTOR = {
    pynvml.NVML_TOPOLOGY_INTERNAL: 3,
    pynvml.NVML_TOPOLOGY_SINGLE: 3,
    pynvml.NVML_TOPOLOGY_MULTIPLE: 3,
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: 2,
    pynvml.NVML_TOPOLOGY_NODE: 1,
}
_OTHER = 0


class _End(NamedTuple):
    place: int
    uuid: str
    gpu: Any
    pci: str
    peers: (
        frozenset[str] | None
    )  # PCI addresses at the other end of links that are up; None: NVML does not say


def topology(driver: Driver) -> list[tuple[str, str, int]]:
    """Pairs of class OTHER are not named, nor is a GPU that fails."""
    ends = [end for index in range(driver.count()) if (end := _end(driver, index)) is not None]
    pairs = ((one.uuid, other.uuid, _class(driver, one, other)) for one, other in combinations(ends, 2))
    return [pair for pair in pairs if pair[2] != _OTHER]


def _end(driver: Driver, index: int) -> _End | None:
    try:
        gpu = driver.gpu(index)
        uuid, pci = ask(pynvml.nvmlDeviceGetUUID, gpu), ask(pynvml.nvmlDeviceGetPciInfo, gpu).busId
    except Failure:
        return None  # its fault is in the inventory
    return _End(index, uuid, gpu, pci.lower(), _peers(gpu))


def _peers(gpu: Any) -> frozenset[str] | None:  # noqa: ANN401 - a handle
    try:
        up = [link for link, is_up in enumerate(ask(nvlinks, gpu)) if is_up]
        return frozenset(ask(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, gpu, link).busId.lower() for link in up)
    except Failure:
        return None


def _class(driver: Driver, one: _End, other: _End) -> int:
    driver.gpu(one.place)  # so that it is marked: one of the two may hang
    if _is_linked(one, other):
        return _NVLINK
    try:
        level = ask(pynvml.nvmlDeviceGetTopologyCommonAncestor, one.gpu, other.gpu)
    except Failure:
        return _OTHER
    return _BY_ANCESTOR.get(level, _OTHER)


def _is_linked(one: _End, other: _End) -> bool:
    """Through a switch the far end of a link is the switch, so the driver's word on the pair counts first."""
    if one.peers == frozenset() or other.peers == frozenset():
        return False
    try:
        status = ask(pynvml.nvmlDeviceGetP2PStatus, one.gpu, other.gpu, pynvml.NVML_P2P_CAPS_INDEX_NVLINK)
    except Failure:
        return other.pci in (one.peers or ()) or one.pci in (other.peers or ())
    return bool(status == pynvml.NVML_P2P_STATUS_OK)
