"""story — how the demo waits for what it promises, and says that it did not come true. Starts nothing."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WITHIN_SECONDS = 180
LOOK_SECONDS = 0.2


class StoryError(Exception):
    """Something that the demo promises did not come true."""


def until(look: Callable[[], T | None], what: str, pause: float = LOOK_SECONDS) -> T:
    """Look until something is found."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise StoryError(f"waited {WITHIN_SECONDS} s in vain until {what}")
        time.sleep(pause)
    return found


def short(job: str) -> str:
    return job[:13]
