"""interfaces — what the shell needs of the outside world, one file a thing. Re-exports; no implementation."""

from agent.interfaces.clock import Clock
from agent.interfaces.engine import (
    ContainerGoneError,
    Engine,
    EngineRefusedError,
    EngineUnavailableError,
    NameTakenError,
    PullFailedError,
    StartFailedError,
)
from agent.interfaces.exec import ContainerNotRunningError, ExecSession
from agent.interfaces.folders import (
    Claimed,
    Digest,
    Folders,
    JobFolderMissingError,
    LogReader,
    LogWriter,
    OutputChangedError,
    OutputFile,
    OutputLimits,
    OutputListing,
    OutputReader,
    OutputRefusedError,
    Prepared,
    SecretFiles,
    SkippedOutput,
    SmallOutput,
    StateFullError,
    StateReadOnlyError,
)
from agent.interfaces.gpu_locks import GpuLocks, GpuLocksUnusableError
from agent.interfaces.gpus import Gpus
from agent.interfaces.host_keys import HostKeyNotMadeError, HostKeys
from agent.interfaces.kernel_log import KernelLog
from agent.interfaces.notify import NotifyStore
from agent.interfaces.outgoing import Body, Outgoing, OutgoingRequest, Sender
from agent.interfaces.output_watch import OutputWatch
from agent.interfaces.quotas import Quotas, QuotaUnavailableError, Shortage
from agent.interfaces.ssh_kit import SshKits
from agent.interfaces.store import (
    MOST_HOST_EVENTS,
    Accepted,
    BodyConflictError,
    Finished,
    ForeignIdError,
    JobQuery,
    NewJob,
    QueueFullError,
    StaleError,
    Store,
    StoreUnavailableError,
    Token,
)
from agent.interfaces.upload_store import UploadStore
from agent.interfaces.uploads import Checksum, Content, Deliveries, Delivery, Offered, Places

__all__ = [
    "MOST_HOST_EVENTS",
    "Accepted",
    "Body",
    "BodyConflictError",
    "Checksum",
    "Claimed",
    "Clock",
    "ContainerGoneError",
    "ContainerNotRunningError",
    "Content",
    "Deliveries",
    "Delivery",
    "Digest",
    "Engine",
    "EngineRefusedError",
    "EngineUnavailableError",
    "ExecSession",
    "Finished",
    "Folders",
    "ForeignIdError",
    "GpuLocks",
    "GpuLocksUnusableError",
    "Gpus",
    "HostKeyNotMadeError",
    "HostKeys",
    "JobFolderMissingError",
    "JobQuery",
    "KernelLog",
    "LogReader",
    "LogWriter",
    "NameTakenError",
    "NewJob",
    "NotifyStore",
    "Offered",
    "Outgoing",
    "OutgoingRequest",
    "OutputChangedError",
    "OutputFile",
    "OutputLimits",
    "OutputListing",
    "OutputReader",
    "OutputRefusedError",
    "OutputWatch",
    "Places",
    "Prepared",
    "PullFailedError",
    "QueueFullError",
    "QuotaUnavailableError",
    "Quotas",
    "SecretFiles",
    "Sender",
    "Shortage",
    "SkippedOutput",
    "SmallOutput",
    "SshKits",
    "StaleError",
    "StartFailedError",
    "StateFullError",
    "StateReadOnlyError",
    "Store",
    "StoreUnavailableError",
    "Token",
    "UploadStore",
]
