"""The real child and the real binding on hosts of the stand-in: what they tell of GPUs and of what links them."""

import pytest

from agent.adapters.nvml.errors import NvmlRefusedError
from tests.contract.nvml_world import Make, call, client_on, rows
from tests.nvml_standin import profiles
from tests.nvml_standin.profiles import GIB, Host, uuid_of


async def test_a_gpu_is_told_with_all_its_facts(standin: Make) -> None:
    async with client_on(standin(profiles.hgx_h100())) as client:
        found = await rows(client)
    assert len(found) == 8
    assert found[5] == {
        "index": 5,
        "uuid": uuid_of(5),
        "name": "NVIDIA H100 80GB HBM3",
        "pci": "00000000:6b:00.0",
        "memory_bytes": 80 * GIB,
        "minor": 5,
        "numa_node": 1,
        "is_mig": False,
        "fabric": {"state": 3, "status": 0, "health_mask": 0},
        "instances": [],
        "faults": {},
    }


async def test_mig_instances_are_found_across_the_holes_between_their_slots(standin: Make) -> None:
    async with client_on(standin(profiles.a100_mig())) as client:
        found = await rows(client)
    instances = {
        (row["index"], instance["slot"]): (instance["uuid"], instance["profile"], instance["memory_bytes"])
        for row in found
        for instance in row["instances"]
    }
    assert instances == {
        (2, 0): ("MIG-2-0", "1g.10gb", 10 * GIB),
        (2, 3): ("MIG-2-3", "1g.10gb", 10 * GIB),
        (2, 6): ("MIG-2-6", "2g.20gb", 20 * GIB),
        (5, 1): ("MIG-5-1", "3g.40gb", 40 * GIB),
        (5, 4): ("MIG-5-4", "1c.2g.20gb", 20 * GIB),
    }
    assert [row["index"] for row in found if row["is_mig"]] == [2, 5]


async def test_what_a_card_does_not_have_is_a_fault_of_that_field_alone(standin: Make) -> None:
    async with client_on(standin(profiles.consumer())) as client:
        found = await rows(client)
        health = await call(client, "health", uuids=[uuid_of(1)])
    assert [row["name"] for row in found] == ["NVIDIA GeForce RTX 4090"] * 2
    assert found[1]["faults"] == dict.fromkeys(("numa_node", "is_mig", "fabric"), "not_supported")
    sheet = health[uuid_of(1)]
    assert sheet["ecc_uncorrected"] is None
    assert sheet["faults"]["ecc_uncorrected"] == "not_supported"
    assert sheet["used_bytes"] == 4 << 20


async def test_a_lost_gpu_hides_no_other(standin: Make) -> None:
    host = standin(profiles.l40s_pcie().but(1, f"fail * {profiles.GPU_IS_LOST}"))
    async with client_on(host) as client:
        found = await rows(client)
        sheets = await call(client, "processes", uuids=[uuid_of(0), uuid_of(1), uuid_of(3)])
    assert [row.get("uuid") for row in found] == [uuid_of(0), None, uuid_of(2), uuid_of(3)]
    assert found[1]["faults"] == {"gpu": "gpu_lost"}
    assert {uuid: sheet["faults"] for uuid, sheet in sheets.items()} == {
        uuid_of(0): {},
        uuid_of(1): {"gpu": "not_found"},
        uuid_of(3): {},
    }


async def links(host: Host, standin: Make) -> dict[tuple[int, int], int]:
    async with client_on(standin(host)) as client:
        pairs = await call(client, "topology")
    return {(int(one[4:12], 16), int(other[4:12], 16)): link for one, other, link in pairs}


async def test_gpus_on_a_switch_of_nvlinks_are_all_linked(standin: Make) -> None:
    found = await links(profiles.hgx_h100(), standin)
    assert len(found) == 28
    assert set(found.values()) == {4}


async def test_a_gpu_whose_links_are_all_down_is_linked_to_none(standin: Make) -> None:
    found = await links(profiles.hgx_h100().but(3, *["nvlink 0"] * 18), standin)
    assert {pair for pair in found if 3 in pair} == set()
    assert len(found) == 21


async def test_a_bridge_between_two_is_seen_by_where_its_links_end(standin: Make) -> None:
    host = profiles.l40s_pcie()
    host = host.but(0, "nvlink 1 00000000:41:00.0", f"fail P2PStatus {profiles.NOT_SUPPORTED}")
    host = host.but(1, "nvlink 1 00000000:21:00.0")
    found = await links(host, standin)
    assert found[0, 1] == 4


async def test_pcie_hosts_are_told_by_the_nearest_common_ancestor(standin: Make) -> None:
    assert await links(profiles.l40s_pcie(), standin) == {(0, 1): 3, (2, 3): 2}


@pytest.mark.parametrize(
    ("level", "link"),
    [
        (profiles.INTERNAL, 3),
        (profiles.SINGLE, 3),
        (profiles.MULTIPLE, 3),
        (profiles.HOST_BRIDGE, 2),
        (profiles.NODE, 1),
        (profiles.SYSTEM, None),
    ],
)
async def test_each_ancestor_has_its_class(standin: Make, level: int, link: int | None) -> None:
    two = Host(
        profiles.l40s_pcie().cards[:2], (f"link {uuid_of(0)} {uuid_of(1)} {level} {profiles.NVLINK_NOT}",)
    )
    assert (await links(two, standin)).get((0, 1)) == link


@pytest.mark.parametrize(
    ("init", "why", "words"),
    [
        (profiles.DRIVER_NOT_LOADED, "driver_not_loaded", "kernel driver is not loaded"),
        (profiles.MISMATCH, "driver_mismatch", "different versions"),
        (profiles.NO_PERMISSION, "no_permission", "may not open"),
    ],
)
async def test_each_reason_why_nvml_does_not_start_has_its_words(
    standin: Make, init: int, why: str, words: str
) -> None:
    async with client_on(standin(Host(init=str(init)))) as client:
        with pytest.raises(NvmlRefusedError, match=words) as refused:
            await rows(client)
    assert refused.value.why == why


async def test_a_sample_of_a_gpu_and_its_processes(standin: Make) -> None:
    host = profiles.l40s_pcie().but(2, "compute 4711 1048576", "graphics 4712 0", "utilisation 99 50")
    async with client_on(standin(host)) as client:
        sample = (await call(client, "sample", uuids=[uuid_of(2)]))[uuid_of(2)]
        running = (await call(client, "processes", uuids=[uuid_of(2)]))[uuid_of(2)]["processes"]
    assert sample == {
        "utilisation": 99,
        "used_bytes": 4 << 20,
        "power_milliwatts": 70500,
        "celsius": 31,
        "slowdown_reasons": 1,
        "energy_millijoules": 3000,
        "faults": {},
    }
    assert sorted((process["pid"], process["used_bytes"]) for process in running) == [
        (4711, 1 << 20),
        (4712, 0),
    ]


async def test_the_health_of_an_instance_is_that_of_its_gpu(standin: Make) -> None:
    host = profiles.a100_mig().but(
        2, "mig_mode 1", "slots 7", "rows 0 1 1 0", "ecc 5", "recovery 1", "retired 1"
    )
    async with client_on(standin(host)) as client:
        sheet = (await call(client, "health", uuids=["MIG-2-3"]))["MIG-2-3"]
    assert sheet["used_bytes"] == 1 << 20
    assert (sheet["ecc_uncorrected"], sheet["recovery_action"]) == (5, 1)
    assert (sheet["is_remap_pending"], sheet["has_remap_failed"], sheet["is_retirement_pending"]) == (
        True,
        False,
        True,
    )


async def test_the_health_of_a_gpu_on_a_fabric_tells_of_links_and_fabric(standin: Make) -> None:
    host = profiles.hgx_h100().but(0, "nvlink 1", "nvlink 0", "fabric 2 0 0")
    async with client_on(standin(host)) as client:
        sheet = (await call(client, "health", uuids=[uuid_of(0)]))[uuid_of(0)]
    assert sheet["nvlinks"] == [True, False]
    assert sheet["fabric"] == {"state": 2, "status": 0, "health_mask": 0}
