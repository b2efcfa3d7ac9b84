"""jobs/ssh — the SSH servers of running jobs: as whom one logs in, who may, and that each job has one. Knows no HTTP, and no runner."""

from agent.jobs.ssh.image import look_for_login
from agent.jobs.ssh.servers import SshServers

__all__ = ["SshServers", "look_for_login"]
