"""jobs/uploads/tools — what every upload works with, wired once. A value: no behaviour."""

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.interfaces import Clock, Deliveries, Folders, OutputLimits, OutputWatch, Store
from agent.jobs.hiding import Hiding
from agent.jobs.uploads.budget import Budget
from agent.jobs.uploads.names import Names
from agent.jobs.uploads.tally import SentTally


@dataclass(frozen=True, slots=True)
class UploadTools:
    """`random` gives [0, 1). `limits` may change between two uploads."""

    store: Store
    folders: Folders
    watch: OutputWatch
    deliveries: Deliveries
    clock: Clock
    random: Callable[[], float]
    hiding: Hiding
    budget: Budget
    names: Names
    limits: Callable[[], OutputLimits]
    tally: SentTally = field(default_factory=SentTally)
