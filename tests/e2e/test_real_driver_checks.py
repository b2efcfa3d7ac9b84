"""The checks of `make test-gpu`: they pass on hosts of the stand-in, and on one without a GPU they fail and skip nothing."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.daemon import REPOSITORY
from tests.nvml_standin import profiles
from tests.nvml_standin.library import Standin, build, environ_without
from tests.nvml_standin.profiles import Host, uuid_of

CHECKS = "tests/gpu/real_driver.py"


def check(environ: Mapping[str, str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", CHECKS]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.mark.parametrize("host", [profiles.hgx_h100(), profiles.a100_mig(), profiles.consumer()])
def test_they_pass_where_there_are_gpus_and_print_them(library: Path, tmp_path: Path, host: Host) -> None:
    code, told = check(Standin(library, tmp_path, host).environ)
    assert code == 0, told
    assert uuid_of(0) in told
    assert "gates of all took" in told


def test_without_the_library_they_fail_and_say_why(tmp_path: Path) -> None:
    code, told = check(environ_without(tmp_path))
    assert code == 1
    assert "no GPU can be tested here" in told
    assert "is not on this host" in told
    assert not {"passed", "skipped"} & set(told.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (Host(), "the driver lists none"),
        (profiles.l40s_pcie().but(1, f"fail * {profiles.GPU_IS_LOST}"), "gpu_lost"),
    ],
)
def test_a_driver_without_gpus_and_one_with_a_sick_one_fail_them(
    library: Path, tmp_path: Path, host: Host, words: str
) -> None:
    code, told = check(Standin(library, tmp_path, host).environ)
    assert code == 1, told
    assert words in told
