"""A minute of chaos; `python -m tests.e2e.chaos --seconds 600` is the long one."""

import random

import pytest

from tests.e2e.chaos import SETTINGS, Chaos
from tests.e2e.conftest import Make
from tests.private_engine import PrivateEngine


@pytest.mark.parametrize("seconds", [40, pytest.param(600, marks=pytest.mark.soak)])
def test_chaos_violates_nothing(
    make_daemon: Make,
    engine: PrivateEngine,
    python_image: str,
    seconds: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    chaos = Chaos(make_daemon(SETTINGS), engine, random.Random(seed), python_image)
    violations = chaos.run(seconds)
    with capsys.disabled():
        print(f"\n{chaos.summary()}, seed {seed}")  # noqa: T201 - the summary is to be seen
    assert not violations, "\n".join(violations)
