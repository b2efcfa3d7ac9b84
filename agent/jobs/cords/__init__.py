"""jobs/cords — calls of chutes' cords: a warm job of the chute answers them. Re-exports."""

from agent.jobs.cords.calls import CordCall, CordReply, Cords
from agent.jobs.cords.errors import (
    CordAnswerInvalidError,
    CordArgumentsInvalidError,
    CordBusyError,
    CordFailedError,
    CordHostEndedError,
    CordHostNotReadyError,
    CordMethodError,
    CordRoomFullError,
    CordTimedOutError,
    NoSuchCordError,
)
from agent.jobs.cords.host import HostState
from agent.jobs.cords.hosts import CordTimes, Hosts
from agent.jobs.cords.tally import Tally

__all__ = [
    "CordAnswerInvalidError",
    "CordArgumentsInvalidError",
    "CordBusyError",
    "CordCall",
    "CordFailedError",
    "CordHostEndedError",
    "CordHostNotReadyError",
    "CordMethodError",
    "CordReply",
    "CordRoomFullError",
    "CordTimedOutError",
    "CordTimes",
    "Cords",
    "HostState",
    "Hosts",
    "NoSuchCordError",
    "Tally",
]
