"""adapters/folders — job folders, secrets, drained logs and the safe reading of outputs, on this host's disk. Re-exports only."""

from agent.adapters.folders.folders import DiskFolders, open_folders
from agent.adapters.folders.jobs import FoundRecord
from agent.adapters.folders.openat2 import Openat2MissingError
from agent.adapters.folders.quotas import why_impossible
from agent.adapters.folders.state import AgentIdUnreadableError, StateInUseError, StateUnsafeError
from agent.adapters.folders.tree import FolderNotRemovedError
from agent.interfaces import JobFolderMissingError, OutputChangedError

__all__ = [
    "AgentIdUnreadableError",
    "DiskFolders",
    "FolderNotRemovedError",
    "FoundRecord",
    "JobFolderMissingError",
    "Openat2MissingError",
    "OutputChangedError",
    "StateInUseError",
    "StateUnsafeError",
    "open_folders",
    "why_impossible",
]
