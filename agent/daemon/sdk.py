"""daemon/sdk — the copy of the SDK that functions see: laid out at the start, earlier agents' copies removed. Starts no job."""

from pathlib import Path

import structlog

from agent.adapters.folders import DiskFolders
from agent.core.reconcile import may_see_sdk
from agent.interfaces import Store

log = structlog.get_logger(__name__)

# What functions import in their containers; nothing of it is imported here.
SDK = Path(__file__).parents[1] / "sdk"


async def lay_out_sdk(folders: DiskFolders, store: Store, source: Path) -> str:
    """Before any job goes on. A mount shows a folder as it is: a function whose copy were removed could import no more of it. So all
    copies stay while there is one that may see an earlier one; the folder of the run time goes with a boot.
    """
    kept = await folders.lay_out_sdk(source)
    if not any(may_see_sdk(job) for job in await store.unfinished()):
        for name in await folders.sweep_sdks(kept):
            log.info("sdk.swept", copy=name)
    return kept
