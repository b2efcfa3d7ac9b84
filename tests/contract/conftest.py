"""What the tests of NVML share: the stand-in library, built once, and hosts that run on it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nvml_standin.library import Standin, build
from tests.nvml_standin.profiles import Host


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def standin(nvml_library: Path, tmp_path: Path) -> Callable[[Host], Standin]:
    return lambda host: Standin(nvml_library, tmp_path, host)
