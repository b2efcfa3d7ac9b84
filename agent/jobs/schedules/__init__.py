"""jobs/schedules — schedules: made, changed, watched, fired. Re-exports."""

from agent.jobs.schedules.firing import Firings
from agent.jobs.schedules.schedules import Schedules
from agent.jobs.schedules.submitting import Submitting
from agent.jobs.schedules.timetable import Timetable

__all__ = ["Firings", "Schedules", "Submitting", "Timetable"]
