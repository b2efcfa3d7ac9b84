"""What all tests share: one event loop that the thread owns, so that no library makes one and leaves it open; and how much
the fast loop (`make check`) tries of each property: `make test` tries five times as much.
"""

import asyncio
from collections.abc import Iterator

import pytest
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
