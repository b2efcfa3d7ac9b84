"""The GPUs of this machine, through the agent's own child and port: what the driver really says is printed. Changes nothing.

Run by `make test-gpu`, and by its path alone: its name keeps it out of `make test`, since few hosts have a GPU. Where there is none
it fails, for a check that was asked for and did not happen must not look like one that passed.
"""

import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.adapters.nvml.client import NvmlClient
from agent.adapters.nvml.errors import NvmlError
from agent.adapters.nvml.gpus import NvmlGpus
from agent.adapters.nvml.port import NvmlPort
from agent.adapters.nvml.sightings import is_harmless
from agent.adapters.nvml.smi import Smi
from agent.core.gpu_findings import Facts, GateVerdict
from agent.core.topology import LinkClass

# A driver without persistence mode wakes each GPU for the first call.
STEP_SECONDS = 30.0
MOST_CHILD_KIB = 30_000

T = TypeVar("T")


@pytest.fixture
async def client() -> AsyncIterator[NvmlClient]:
    made = NvmlClient()
    yield made
    await made.close()


@pytest.fixture
async def gpus(client: NvmlClient) -> list[dict[str, Any]]:
    """The driver's rows of all GPUs. Without one the test fails here."""
    found: Any = {"gpus": []}
    why = "the driver lists none"
    try:
        found = await client.call("inventory", {}, STEP_SECONDS)
    except NvmlError as error:
        why = f"{error}. {error.remedy}"
    if not found["gpus"]:
        pytest.fail(f"no GPU can be tested here: {why}", pytrace=False)
    show("driver", found["driver"])
    return list(found["gpus"])


@pytest.fixture
async def port(client: NvmlClient, gpus: list[dict[str, Any]], tmp_path: Path) -> NvmlPort:
    smi = Smi(client.set_aside, tmp_path / "reset.lock")
    made = NvmlPort(NvmlGpus(client, tmp_path / "record", STEP_SECONDS), smi)
    await timed("a look at all", made.look(frozenset()))
    return made


@pytest.fixture
async def units(port: NvmlPort) -> list[str]:
    """What is leased: GPUs, or in MIG mode their instances."""
    return [gpu.uuid for gpu in (await port.inventory()).gpus]


def show(what: str, told: object) -> None:
    print(f"  {what}: {told}")  # noqa: T201 - to be read by a person


async def timed(what: str, work: Awaitable[T]) -> T:
    began = time.perf_counter()
    answer = await work
    show(f"{what} took", f"{(time.perf_counter() - began) * 1e3:.1f} ms")
    return answer


async def ask(client: NvmlClient, method: str, **params: object) -> Any:  # noqa: ANN401 - JSON
    return await timed(method, client.call(method, params, STEP_SECONDS))


def resident_kib_of_child(client: NvmlClient) -> int:
    assert client._wire is not None
    lines = Path(f"/proc/{client._wire.transport.get_pid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def test_each_gpu_tells_who_and_what_it_is(gpus: list[dict[str, Any]]) -> None:
    for row in gpus:
        show(f"GPU {row['index']}", row)
    for row in gpus:
        assert row.get("uuid", "").startswith("GPU-"), row
        assert row["name"], row
        assert row["pci"], row
        assert row["memory_bytes"] > 0, row
    assert len({row["uuid"] for row in gpus}) == len(gpus)


async def test_what_lies_between_the_gpus_is_told(client: NvmlClient, gpus: list[dict[str, Any]]) -> None:
    uuids = {row["uuid"] for row in gpus}
    pairs = await ask(client, "topology")
    for one, other, link in pairs:
        show(f"{one} and {other}", LinkClass(link).name)
    assert all({one, other} <= uuids and one != other for one, other, _ in pairs)
    assert len({frozenset(pair[:2]) for pair in pairs}) == len(pairs)


async def test_the_processes_of_each_gpu_are_told(client: NvmlClient, units: list[str]) -> None:
    sheets = await ask(client, "processes", uuids=units)
    for uuid in units:
        show(uuid, sheets[uuid])
    for uuid in units:
        assert sheets[uuid].get("compute") is not None, "without this no gate ever passes"
        assert sheets[uuid]["used_bytes"] is not None


async def test_the_health_of_each_gpu_is_told(client: NvmlClient, port: NvmlPort, units: list[str]) -> None:
    sheets = await ask(client, "health", uuids=units)
    for uuid in units:
        show(uuid, sheets[uuid])
    facts = await port.facts(units)
    for uuid in units:
        show(f"{uuid} in the agent's words", facts[uuid])
    assert all(isinstance(facts[uuid], Facts) for uuid in units)
    unread = {code for sheet in sheets.values() for code in sheet["faults"].values() if not is_harmless(code)}
    assert not unread, f"asked in a way that the driver does not know: {unread}"


async def test_a_sample_of_each_gpu_is_told(client: NvmlClient, units: list[str]) -> None:
    sheets = await ask(client, "sample", uuids=units)
    for uuid in units:
        show(uuid, sheets[uuid])
    for uuid in units:
        sheet = sheets[uuid]
        assert sheet["utilisation"] is None or 0 <= sheet["utilisation"] <= 100
        power = sheet.get("power_milliwatts")  # of an instance it is not told
        assert power is None or power < 5_000_000
        assert sheet["celsius"] is None or 0 < sheet["celsius"] < 130


async def test_errors_of_each_gpu_can_be_waited_for(client: NvmlClient, gpus: list[dict[str, Any]]) -> None:
    watched = await ask(client, "events")
    show("events", watched)
    assert all(is_harmless(code) for code in watched["faults"].values()), watched
    assert set(watched["watched"]) <= {row["uuid"] for row in gpus}
    assert len(watched["watched"]) + len(watched["faults"]) >= len(gpus)
    # The thread that waits for them holds up no answer.
    assert await ask(client, "inventory")


async def test_the_gate_of_each_gpu_agrees_with_who_uses_it(
    client: NvmlClient, port: NvmlPort, units: list[str]
) -> None:
    gates = await timed("the gates of all", port.gates(units))
    running = await ask(client, "processes", uuids=units)
    for uuid in units:
        show(uuid, gates[uuid])
    for uuid in units:
        is_used = bool(running[uuid]["processes"])
        assert (gates[uuid].verdict is GateVerdict.FOREIGN) == is_used, gates[uuid]
        assert gates[uuid].verdict is not GateVerdict.NOT_LOOKED


@pytest.mark.usefixtures("units")
async def test_the_child_is_small(client: NvmlClient) -> None:
    await ask(client, "events")
    resident_kib = resident_kib_of_child(client)
    show("the child has", f"{resident_kib} KiB")
    assert resident_kib <= MOST_CHILD_KIB
