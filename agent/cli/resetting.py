"""cli/resetting — waits for the end of a GPU's reset, across restarts of the agent, which goes on with it. Asks for none."""

import asyncio
from typing import Any

from agent.cli.patience import Patience
from agent.cli.refusals import AWAY, ApiRefusedError
from agent.cli.request import get
from agent.cli.session import Call

LOOK_AGAIN_SECONDS = 0.5


async def wait_for_reset(call: Call, path: str) -> Any:  # noqa: ANN401 - the GPU as decoded JSON
    """The GPU once it is no longer being reset. `path` is the API's for it."""
    patience = Patience(call.screen)
    while True:
        try:
            seen = await call.api.ask(get(path))
            if seen["state"] != "resetting":
                return seen
            patience.met()
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        except (*AWAY, ApiRefusedError) as error:
            await patience.wait(error, "the agent is away; it goes on with the reset when it is back")
