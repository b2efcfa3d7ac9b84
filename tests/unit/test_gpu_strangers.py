"""Containers that are not ours and have GPUs: what the engine's words say that they have, and whether it may be ours."""

from typing import Any

import pytest

from agent.adapters.docker.strangers import stranger
from agent.core.gpu_strangers import GpuStranger, may_overlap, own_uuids

ONE, TWO = "GPU-11111111-aaaa", "GPU-22222222-bbbb"


def answer(
    env: list[str] | None = None, labels: dict[str, str] | None = None, **host: object
) -> dict[str, Any]:
    """The part of an inspect that is read. An engine writes null for what is not there."""
    return {
        "Name": "/theirs",
        "Config": {"Env": env, "Labels": labels},
        "HostConfig": {"DeviceRequests": None, "Devices": None, "Runtime": "runc", **host},
    }


def request(driver: str, *ids: str, count: int = 0, wish: str = "gpu") -> dict[str, object]:
    return {"Driver": driver, "Count": count, "DeviceIDs": list(ids) or None, "Capabilities": [[wish]]}


@pytest.mark.parametrize(
    ("told", "gpus"),
    [
        (answer(), ()),
        (answer(DeviceRequests=[request("cdi", f"nvidia.com/gpu={ONE}", "nvidia.com/gpu=0")]), (ONE, "0")),
        (answer(DeviceRequests=[request("cdi", "amd.com/gpu=0", "vendor.com/net=eth0")]), ()),
        (answer(DeviceRequests=[request("", count=-1)]), ("all",)),
        (answer(DeviceRequests=[request("", count=2)]), ("0", "1")),
        (answer(DeviceRequests=[request("", ONE, TWO)]), (ONE, TWO)),
        (answer(DeviceRequests=[request("nvidia", "1", wish="utility")]), ("1",)),
        (answer(DeviceRequests=[request("other", "1", wish="fpga")]), ()),
        (answer(["PATH=/bin", f"NVIDIA_VISIBLE_DEVICES={ONE},1"], Runtime="nvidia"), (ONE, "1")),
        (answer(["NVIDIA_VISIBLE_DEVICES=all"], Runtime="nvidia-legacy"), ("all",)),
        (answer(["NVIDIA_VISIBLE_DEVICES=all"]), ()),
        (answer(["NVIDIA_VISIBLE_DEVICES=void"], Runtime="nvidia"), ()),
        (answer(["NVIDIA_VISIBLE_DEVICES="], Runtime="nvidia"), ()),
        (answer(Runtime="nvidia"), ()),
        (
            answer(Devices=[{"PathOnHost": "/dev/nvidia3"}, {"PathOnHost": "/dev/nvidiactl"}]),
            ("/dev/nvidia3",),
        ),
        (
            answer(
                [f"NVIDIA_VISIBLE_DEVICES={ONE}"], Runtime="nvidia", DeviceRequests=[request("nvidia", ONE)]
            ),
            (ONE,),
        ),
    ],
)
def test_what_a_container_was_given_is_read_in_every_way_to_give_it(
    told: dict[str, Any], gpus: tuple[str, ...]
) -> None:
    assert stranger(told) == GpuStranger("theirs", gpus)


def test_a_container_of_another_agent_is_told_with_that_agent() -> None:
    assert stranger(answer(labels={"gpu-agent.agent": "agent-2"})).agent == "agent-2"


WHOLES = {ONE: ONE, TWO: TWO, "MIG-3-1": "GPU-3", "MIG-3-2": "GPU-3"}
OWN = own_uuids(WHOLES, (ONE, "MIG-3-1"))


@pytest.mark.parametrize(
    "gpus",
    [
        (ONE,),
        ("GPU-1111",),
        (TWO, ONE),
        (TWO, "0"),
        ("all",),
        ("/dev/nvidia1",),
        ("MIG-3-1",),
        ("GPU-3",),
    ],
)
def test_what_is_ours_or_may_be_overlaps(gpus: tuple[str, ...]) -> None:
    assert may_overlap(GpuStranger("theirs", gpus), OWN)


@pytest.mark.parametrize("gpus", [(TWO,), ("MIG-3-2",), (TWO, "GPU-9")])
def test_a_uuid_that_is_not_ours_is_surely_none_of_ours(gpus: tuple[str, ...]) -> None:
    assert not may_overlap(GpuStranger("theirs", gpus), OWN)
