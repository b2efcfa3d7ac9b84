"""core/gpu_parts — which GPUs and MIG instances are the same hardware, so that no two leases ever hold it. Pure; chooses none.

An operator may cut a GPU anew under a lease: into other instances, out of a whole one, or back into it. The lease then names
what the host no longer lists, while what it lists has the same hardware under another name.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from agent.core.gpus import Inventory
from agent.core.lease import GpuPart, Lease


def parts_of(inventory: Inventory, uuids: Iterable[str]) -> tuple[GpuPart, ...]:
    """Those of them that are instances, with the GPU of each: for the lease, which may outlast the instance."""
    whole = {gpu.uuid: gpu.whole for gpu in inventory.gpus}
    return tuple(GpuPart(uuid, of) for uuid in uuids if (of := whole.get(uuid)) is not None)


def sharing(inventory: Inventory, uuids: AbstractSet[str]) -> set[str]:
    """These, and what of the inventory is the same hardware: the GPU of an instance, and the instances of a GPU."""
    wholes = {gpu.whole for gpu in inventory.gpus if gpu.uuid in uuids}
    return {*uuids, *(gpu.uuid for gpu in inventory.gpus if gpu.uuid in wholes or gpu.whole in uuids)}


def held_gpus(leases: Iterable[Lease], inventory: Inventory) -> set[str]:
    """What can't be given out beside these leases."""
    leases = tuple(leases)
    listed = {gpu.uuid for gpu in inventory.gpus}
    parts = [part for lease in leases for part in lease.parts]
    wholes = {part.whole for part in parts}
    # Which of its new instances has the hardware of one that is gone, nobody says: none is free until the lease is back.
    cut_anew = {part.whole for part in parts if part.uuid not in listed}
    return sharing(inventory, {uuid for lease in leases for uuid in lease.gpus}) | {
        gpu.uuid for gpu in inventory.gpus if gpu.uuid in wholes or gpu.whole in cut_anew
    }
