"""daemon/chutes — chutes, built of the folders and of the way in for jobs. Starts nothing."""

from agent.adapters.folders import DiskFolders
from agent.daemon.ids import new_job_id
from agent.jobs.chutes import Chutes, Describing
from agent.jobs.intake import Intake


def build_chutes(folders: DiskFolders, intake: Intake) -> Chutes:
    """Its standing task is `describing.watch`."""
    return Chutes(intake, folders.chutes, Describing(folders.chutes, intake), new_job_id(intake.clock))
