"""cli/watch — one answer, drawn again each second until its reader has enough. Knows no document.

Asked for anew each time and not followed, so that a restart of the agent costs a moment and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from agent.cli.patience import GIVE_UP_SECONDS, is_passing
from agent.cli.refusals import AWAY, ApiRefusedError, Json, Refusal
from agent.cli.show.words import one_line

EACH_SECONDS = 1.0

Ask = Callable[[], Awaitable[Json]]
Draw = Callable[[Json], RenderableType]


async def watch(console: Console, ask: Ask, draw: Draw, seconds: float = EACH_SECONDS) -> Refusal:
    """Returns what ended it: a refusal that will not pass. An agent that is away is waited for, with its last answer on view."""
    loop = asyncio.get_running_loop()
    drawn: RenderableType = Text()
    heard_at = loop.time()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            try:
                drawn = draw(await ask())
                heard_at = loop.time()
                live.update(drawn, refresh=True)
            except (*AWAY, ApiRefusedError) as error:
                if not is_passing(error) or loop.time() - heard_at > GIVE_UP_SECONDS:
                    return error
                live.update(Group(drawn, _away(error)), refresh=True)
            await asyncio.sleep(seconds)


def _away(error: Any) -> Text:  # noqa: ANN401 - any refusal
    return Text(f"the agent is away; waiting for it: {one_line(error)}", style="yellow")
