"""What the tests share: the stand-in library of NVML, built once, and hosts that run on it; the store on disk and its twin."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.contract.store_values import TestedStore, WallClock, opened
from tests.fakes.store import MemoryStore
from tests.nvml_standin.library import Standin, build
from tests.nvml_standin.profiles import Host


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def standin(nvml_library: Path, tmp_path: Path) -> Callable[[Host], Standin]:
    return lambda host: Standin(nvml_library, tmp_path, host)


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: WallClock
) -> AsyncIterator[TestedStore]:
    if request.param == "memory":
        yield MemoryStore(clock.now)
        return
    async with opened(tmp_path, clock.now) as store:
        yield store
