"""jobs/schedules_probe — what /health says of schedules: how many are waited for, what became of due minutes, and whether it keeps up."""

from agent.jobs.health import CheckState, Finding, Probe
from agent.jobs.schedules import Timetable

# So late a minute is missed.
BEHIND_SECONDS = 60.0


def schedules_probe(timetable: Timetable) -> Probe:
    """Counts are over all principals, since the start."""

    async def probe() -> Finding:
        tally, behind = timetable.tally, timetable.seconds_behind()
        told = (
            f"{timetable.count} are waited for; since the start {tally.fired} jobs were started, {tally.skipped} minutes skipped, "
            f"{tally.missed} missed, {tally.failed} starts refused"
        )
        if behind < BEHIND_SECONDS:
            return Finding(CheckState.OK, told)
        return Finding(
            CheckState.WARN,
            f"they are {behind:.0f} s late; {told}",
            "See whether the disk of the state folder is slow or full, and what the agent's log says of schedules.",
        )

    return probe
