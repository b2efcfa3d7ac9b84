"""The packet filter in memory: tables of names, with texts; somebody may change them, and the kernel tells it."""

import asyncio
import hashlib
from collections.abc import Callable, Container

from agent.core.firewall import RuleSet
from agent.core.firewall_text import Siblings, write_rules
from agent.errors import AgentError
from agent.interfaces import Placed


class FakeFirewall:
    """`trouble`: what `put` and `fingerprint` raise. `tells`: whether changes are told. `silent`: what a look at the switches raises. `unfiltered`: why siblings are not kept apart.
    `bridges`: those that the engine has made here, None: each that is asked for; `elsewhere`: in another network namespace. `slow_seconds`: how long it thinks before it answers.
    """

    def __init__(self, siblings: Siblings = Siblings.ROUTED, bridges: Container[str] | None = None) -> None:
        self.siblings = siblings
        self.tables: dict[str, str] = {}
        self.trouble: AgentError | None = None
        self.silent: AgentError | None = None
        self.unfiltered: str | None = None
        self.bridges = bridges
        self.elsewhere: set[str] = set()
        self.slow_seconds = 0.0
        self.tells = True
        self.puts = 0
        self._listeners: dict[str, Callable[[], None]] = {}

    async def put(self, rules: RuleSet) -> Placed:
        await asyncio.sleep(self.slow_seconds)
        self._raise_trouble()
        self.puts += 1
        self.change(rules.table, write_rules(rules, self.siblings))
        return Placed(_hash(self.tables[rules.table]), self.siblings)

    async def fingerprint(self, table: str) -> str | None:
        await asyncio.sleep(self.slow_seconds)
        self._raise_trouble()
        return _hash(self.tables[table]) if table in self.tables else None

    async def remove(self, table: str) -> None:
        self._raise_trouble()
        self.change(table, None)

    def why_unfiltered(self) -> str | None:
        if self.silent is not None:
            raise self.silent
        return self.unfiltered

    def sees(self, interface: str) -> bool:
        return interface not in self.elsewhere and (self.bridges is None or interface in self.bridges)

    def listen(self, table: str, changed: Callable[[], None]) -> None:
        self._listeners[table] = changed

    # ── what somebody does to it ──

    def change(self, table: str, text: str | None) -> None:
        """None: it is removed."""
        if text is None:
            self.tables.pop(table, None)
        else:
            self.tables[table] = text
        if self.tells and table in self._listeners:
            self._listeners[table]()

    def flush(self) -> None:
        for table in list(self.tables):
            self.change(table, None)

    def _raise_trouble(self) -> None:
        if self.trouble is not None:
            raise self.trouble


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
