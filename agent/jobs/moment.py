"""jobs/moment — both clocks, read at once. Decides nothing."""

from agent.core.job import BootTime, Now
from agent.interfaces import Clock


def now_of(clock: Clock) -> Now:
    return Now(clock.now(), BootTime(clock.boot_id, clock.boot_seconds()))
