"""daemon/ids — names that nothing had before: of jobs, and of commands in them. Keeps none."""

import os
import secrets
from collections.abc import Callable
from uuid import UUID

from agent.interfaces import Clock


def new_job_id(clock: Clock) -> Callable[[], str]:
    """UUIDs of version 7 (RFC 9562, §5.7): 48 bits of milliseconds, then random ones."""

    def make() -> str:
        milliseconds = int(clock.now() * 1000)
        drawn = int.from_bytes(os.urandom(10))
        low = 0b10 << 62 | drawn & (1 << 62) - 1
        high = milliseconds << 16 | 7 << 12 | drawn >> 68
        return str(UUID(int=high << 64 | low))

    return make


def new_exec_id() -> str:
    return secrets.token_hex(4)
