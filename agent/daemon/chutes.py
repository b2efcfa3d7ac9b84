"""daemon/chutes — chutes and their cords, built of the folders and of the way in for jobs. Starts nothing."""

from collections.abc import Callable

from agent.adapters.folders import DiskFolders
from agent.daemon.ids import new_job_id
from agent.jobs.chutes import Chutes, Deploys, Describing
from agent.jobs.cords import Cords, CordTimes, Hosts
from agent.jobs.cords.replays import Replays
from agent.jobs.intake import Intake


def build_chutes(
    folders: DiskFolders, intake: Intake, times: Callable[[], CordTimes]
) -> tuple[Chutes, Deploys, Cords]:
    """The standing tasks are `describing.watch` of deploys, `hosts.watch` and `replays.tidy_up` of cords."""
    new_id = new_job_id(intake.clock)
    hosts = Hosts(intake, folders.chutes, times)
    describing = Describing(folders.chutes, intake, hosts.note_deployed)
    deploys = Deploys(intake, folders.chutes, describing, new_id)
    chutes = Chutes(intake, folders.chutes, hosts.close)
    return chutes, deploys, Cords(chutes, hosts, Replays(intake.store, intake.clock, new_id), new_id)
