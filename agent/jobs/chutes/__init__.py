"""jobs/chutes — chutes: deployed, described, started by name, removed. Re-exports."""

from agent.jobs.chutes.chutes import Chutes
from agent.jobs.chutes.deploys import Deploys
from agent.jobs.chutes.describing import Describing

__all__ = ["Chutes", "Deploys", "Describing"]
