"""adapters/jobsocket — a Unix socket for each running function: lines of JSON in, at the job's own pace, answers out. Carries no call out."""

from agent.adapters.jobsocket.sockets import UnixJobSockets

__all__ = ["UnixJobSockets"]
