"""jobs/image_looks — whether the engine has an image, asked once for all jobs that want to know. Pulls nothing."""

import asyncio
from dataclasses import dataclass, field
from itertools import count
from weakref import WeakValueDictionary

from agent.core.container import Image
from agent.interfaces import Engine, EngineUnavailableError


@dataclass(slots=True, weakref_slot=True)
class _Look:
    """The last one at a reference, kept while somebody waits for it or for the next. `began`: its place among all askings."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    began: int = -1
    answer: Image | EngineUnavailableError | None = None


class ImageLooks:
    """A look answers everybody who asked before it began, and nobody else: what was built or pulled since is always seen."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looks: WeakValueDictionary[str, _Look] = WeakValueDictionary()
        self._order = count()

    async def find(self, reference: str) -> Image | None:
        """The image if the engine has it. Raises EngineUnavailableError, EngineRefusedError."""
        asked = next(self._order)
        look = self._looks.setdefault(reference, _Look())
        async with look.turn:
            if look.began < asked:
                look.began, look.answer = await self._look(reference)
            if isinstance(look.answer, EngineUnavailableError):
                raise look.answer
            return look.answer

    async def _look(self, reference: str) -> tuple[int, Image | EngineUnavailableError | None]:
        began = next(self._order)
        try:
            return began, await self._engine.image(reference)
        except EngineUnavailableError as error:
            # It is an answer too: a hundred jobs in turn would each wait for an engine that hangs.
            return began, error
