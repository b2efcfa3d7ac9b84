"""cli/patience — how long to go on while the agent is away, and what is said about it. Sends nothing."""

import asyncio

from agent.cli.refusals import AWAY, ApiRefusedError, Refusal
from agent.cli.screen import Screen

FIRST_SECONDS, LONGEST_SECONDS = 0.1, 2.0
# A restart takes seconds, an upgrade a minute; who is away for longer will not be back while somebody watches.
GIVE_UP_SECONDS = 300.0


def is_passing(error: Refusal) -> bool:
    """Whether the agent may be back soon: it is restarted, or its engine or database is away."""
    return isinstance(error, AWAY) or (isinstance(error, ApiRefusedError) and error.is_passing)


class Patience:
    """Call `wait` when something failed, `met` when something came. One line is said for each time that the agent is away."""

    def __init__(self, screen: Screen, seconds: float = GIVE_UP_SECONDS) -> None:
        self._screen = screen
        self._seconds = seconds
        self._away_since: float | None = None
        self._pause = FIRST_SECONDS

    def met(self) -> None:
        self._away_since = None
        self._pause = FIRST_SECONDS

    async def wait(self, error: Refusal, said: str) -> None:
        """Wait a little before the next try; raises `error` where that makes no sense, or took too long."""
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
            if is_passing(error):
                self._screen.note(said)
        if not is_passing(error) or now - self._away_since > self._seconds:
            raise error
        await asyncio.sleep(self._pause)
        self._pause = min(LONGEST_SECONDS, self._pause * 2)
