"""daemon/schedules — schedules, built of the folders, of chutes and of the way in for jobs. Starts nothing."""

from agent.adapters.folders import DiskFolders
from agent.daemon.ids import new_job_id
from agent.jobs.chutes import Chutes, Describing
from agent.jobs.schedules import Firings, Schedules, Submitting, Timetable


def build_schedules(folders: DiskFolders, chutes: Chutes, describing: Describing) -> Schedules:
    """Their standing task is `timetable.watch`."""
    intake, submitting = chutes.intake, Submitting(folders.schedules, chutes)
    timetable = Timetable(intake.store, Firings(intake, submitting), intake.clock)
    describing.on_deployed.append(lambda _: timetable.look())
    return Schedules(intake, submitting, timetable, new_job_id(intake.clock))
