"""jobs/schedules_probe — what /health says of schedules: how many are waited for, what became of due minutes, and whether it keeps up."""

from agent.core.schedule import LATE_SECONDS
from agent.jobs.health import CheckState, Finding, Probe
from agent.jobs.schedules import Timetable

BEHIND_SECONDS = float(LATE_SECONDS)
SEE_THE_DISK = (
    "See whether the disk of the state folder is slow or full, and what the agent's log says of schedules."
)
SEE_THE_CLOCK = (
    "Keep the host's clock in step; where it is right now, wait, or pause and resume what must not."
)


def schedules_probe(timetable: Timetable) -> Probe:
    """Counts are over all principals, since the start."""

    async def probe() -> Finding:
        tally, behind = timetable.tally, timetable.seconds_behind()
        told = (
            f"{timetable.count} are waited for; since the start {tally.fired} jobs were started, {tally.skipped} minutes skipped, "
            f"{tally.missed} missed, {tally.failed} starts refused"
        )
        behind = max(behind, timetable.seconds_unread())
        if behind >= BEHIND_SECONDS:
            return Finding(CheckState.WARN, f"they are {behind:.0f} s late; {told}", SEE_THE_DISK)
        ahead = timetable.seconds_ahead()
        if ahead > LATE_SECONDS:
            silent = f"the clock was set back, and some are silent for {ahead:.0f} s more; {told}"
            return Finding(CheckState.WARN, silent, SEE_THE_CLOCK)
        return Finding(CheckState.OK, told)

    return probe
