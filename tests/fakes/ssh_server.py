"""An SSH server in the fake engine's containers: it says what dropbear says, and lives as long as its line to the agent does."""

import asyncio
from dataclasses import dataclass, field

from agent.core.ssh_server import ENDED_WORDS, server_plan
from tests.fakes.engine import FakeEngine
from tests.fakes.execs import Inside

STAMP = "Nov 27 10:10:00"
TERMINATED = 1


@dataclass(slots=True)
class _Life:
    inside: Inside
    is_killed: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = TERMINATED


class FakeSshServers:
    """All that run in one engine. `most`: there were ever so many at once in one container. `is_mute`: it starts, and never listens."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.starts = 0
        self.most = 0
        self.is_mute = False
        self.lives: list[_Life] = []
        engine.execs.commands[server_plan().command] = self.serve

    @property
    def running(self) -> int:
        return len(self.lives)

    async def serve(self, inside: Inside) -> int:
        life = _Life(inside)
        self.starts += 1
        self.lives.append(life)
        self.most = max(self.most, len(self.lives))
        try:
            await self._serve(life)
        finally:
            self.lives.remove(life)
        await inside.complain(f"{ENDED_WORDS} {life.code}\n".encode())
        return life.code

    async def _serve(self, life: _Life) -> None:
        if not self.is_mute:
            await self.say("[8] {} Not backgrounding", life)
        line = asyncio.ensure_future(life.inside.read())
        killed = asyncio.ensure_future(life.is_killed.wait())
        try:
            await asyncio.wait({line, killed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            line.cancel()
            killed.cancel()

    async def say(self, words: str, life: _Life | None = None) -> None:
        """`{}`: the time, as it writes it."""
        inside = (life or self.lives[-1]).inside
        await inside.complain(words.format(STAMP).encode() + b"\n")

    async def log_in(self, fingerprint: str, session: int = 13) -> None:
        await self.say(
            f"[{session}] {{}} Pubkey auth succeeded for 'root' with ssh-ed25519 key {fingerprint} from 192.0.2.7:4242"
        )

    async def log_out(self, session: int = 13) -> None:
        await self.say(f"[{session}] {{}} Exit (root) from <192.0.2.7:4242>: Disconnect received")

    def kill(self, code: int = 137) -> None:
        """From inside the container."""
        for life in self.lives:
            life.code = code
            life.is_killed.set()
