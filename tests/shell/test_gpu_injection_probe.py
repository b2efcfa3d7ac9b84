"""What the doctor says of the way in which containers get GPUs."""

import pytest

from agent.core.policy import InjectionWish
from agent.jobs.gpu_probes import gpu_injection_probe
from agent.jobs.health import CheckState, Finding
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine

GENERATE = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
AUTO, CDI, NVIDIA = InjectionWish.AUTO, InjectionWish.CDI, InjectionWish.NVIDIA


async def look(
    engine: FakeEngine, wish: InjectionWish = AUTO, runtime: str | None = None, *, gpus: bool = True
) -> Finding:
    return await gpu_injection_probe(engine, wish, runtime, lambda: gpus)()


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine(FakeClock())
    engine.runtimes = frozenset({"runc"})
    return engine


@pytest.mark.parametrize("wish", list(InjectionWish))
async def test_a_host_without_gpus_is_well_whatever_its_engine_has(
    engine: FakeEngine, wish: InjectionWish
) -> None:
    assert await look(engine, wish, gpus=False) == Finding(CheckState.OK, "no NVIDIA GPU on this host")


async def test_cdi_is_told_with_how_many_gpus_its_specs_name(engine: FakeEngine) -> None:
    engine.cdi_gpus = frozenset({"all", "0", "GPU-1", "MIG-2"})
    found = await look(engine)
    assert (found.state, found.remedy) == (CheckState.OK, "")
    assert found.evidence == "by CDI: the specs in /etc/cdi name 2 by UUID"


async def test_without_cdi_the_runtime_serves_and_the_way_to_cdi_is_shown(engine: FakeEngine) -> None:
    engine.runtimes = frozenset({"runc", "nvidia"})
    found = await look(engine)
    assert (found.state, found.evidence) == (
        CheckState.WARN,
        "by the nvidia runtime, since CDI is off in the engine",
    )
    assert GENERATE in found.remedy
    assert (await look(engine, NVIDIA)).state is CheckState.OK


async def test_where_the_runtime_was_asked_for_its_remedy_is_told(engine: FakeEngine) -> None:
    found = await look(engine, NVIDIA)
    assert found.state is CheckState.FAIL
    assert "nvidia-ctk runtime configure" in found.remedy


@pytest.mark.parametrize("wish", [AUTO, CDI])
async def test_a_host_with_gpus_and_no_way_fails_and_says_what_to_run(
    engine: FakeEngine, wish: InjectionWish
) -> None:
    found = await look(engine, wish)
    assert found.state is CheckState.FAIL
    assert '"features": {"cdi": true}' in found.remedy
    assert GENERATE in found.remedy


@pytest.mark.parametrize("wish", [AUTO, CDI])
async def test_specs_that_know_gpus_by_index_only_do_not_do(engine: FakeEngine, wish: InjectionWish) -> None:
    engine.cdi_gpus = frozenset({"all", "0"})
    found = await look(engine, wish)
    assert found.state is CheckState.FAIL
    assert "no CDI spec in /etc/cdi names a GPU by its UUID" in found.evidence
    assert found.remedy == f"Run `{GENERATE} --device-name-strategy=uuid`."


async def test_a_runtime_of_all_jobs_keeps_the_nvidia_runtime_out(engine: FakeEngine) -> None:
    engine.runtimes = frozenset({"runc", "nvidia", "runsc"})
    found = await look(engine, AUTO, "runsc")
    assert found.state is CheckState.FAIL
    assert "all jobs run under the runtime runsc" in found.evidence
