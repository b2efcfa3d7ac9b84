"""What all tests share: one event loop that the thread owns, so that no library makes one and leaves it open; logging that a
test may set up as the program does, and which is as before for the next; and how much the fast loop (`make check`) tries of
each property: `make test` tries five times as much.
"""

import asyncio
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("check", max_examples=20)


@pytest.fixture(scope="session", autouse=True)
def thread_loop() -> Iterator[None]:
    # On Python 3.11 asyncio.get_event_loop() makes a loop where the thread has none, and pytest-asyncio calls it.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(scope="session", autouse=True)
def uncached_loggers() -> Iterator[None]:
    # A logger that a test made the program keep would write by that test's settings in all later ones, which read its lines.
    configure = structlog.configure

    def without_cache(**wanted: object) -> None:
        configure(**{**wanted, "cache_logger_on_first_use": False})  # type: ignore[arg-type] # as it was called

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", without_cache)
        yield


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
