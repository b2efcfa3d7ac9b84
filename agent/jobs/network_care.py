"""jobs/network_care — the rules of the jobs' network: put in place, watched, put back; and who has to wait while they are not. Starts no job."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from agent.aio import Flag
from agent.core.bridge import Bridge
from agent.core.firewall import RuleSet
from agent.core.firewall_text import Siblings
from agent.core.job import NewEvent
from agent.core.policy import NetworkRefusal
from agent.errors import AgentError
from agent.interfaces import (
    BridgeNameTakenError,
    BridgeOutOfSightError,
    Firewall,
    FirewallSilentError,
    FirewallUnusableError,
    Placed,
    SiblingsUnfilteredError,
    Store,
    StoreUnavailableError,
)

log = structlog.get_logger()

# The kernel tells of changes at once; this is for where it does not, and for its switches, of which it tells nobody.
LOOK_SECONDS = 30.0
RETRY_SECONDS = 5.0
# Somebody who changes the rules again and again costs so many looks and events at most.
PAUSE_SECONDS = 0.05
MOST_PAUSE_SECONDS = 10.0
LATELY_SECONDS = 60.0
MOST_UNTOLD = 100


@dataclass(frozen=True, slots=True)
class NetworkView:
    """For /health. `closed`: why no job with a network starts, None where the rules are in place."""

    table: str
    size: int
    siblings: Siblings | None
    closed: NetworkRefusal | None
    put_back_lately: int


NOT_YET = NetworkRefusal("the rules of the network are being looked at", "It takes a moment.")


@dataclass(frozen=True, slots=True)
class BridgeCalls:
    """To the engine, about the jobs' bridge."""

    find: Callable[[], Awaitable[Bridge | None]]
    ensure: Callable[[], Awaitable[None]]


class NetworkCare:
    """Standing task `watch`. `heed`: told why jobs with a network are not to be taken at all, or None; and that the grant may look anew."""

    def __init__(
        self,
        firewall: Firewall,
        store: Store,
        rules: RuleSet,
        bridge: BridgeCalls,
        heed: Callable[[NetworkRefusal | None], None],
    ) -> None:
        self._firewall = firewall
        self._store = store
        self._rules = rules
        self._bridge = bridge
        self._heed = heed
        self._flag = Flag()
        self._placed: Placed | None = None
        self._is_bridge_known = False  # to be ours, or about to be
        self._trouble: NetworkRefusal | None = NOT_YET
        self._told_trouble: NetworkRefusal | None = None
        self._put_back_at: deque[float] = deque(maxlen=1000)
        self._untold: deque[NewEvent] = deque(maxlen=MOST_UNTOLD)

    @property
    def closed(self) -> NetworkRefusal | None:
        """Why no job with a network may start now. That something was changed is enough, until it was looked at."""
        if self._trouble is None and not self._flag.is_set() and not self._is_seen_to_be_filtered():
            self._flag.set()  # of the kernel's switches nobody is told
        return self._trouble or (NOT_YET if self._flag.is_set() else None)

    def _is_seen_to_be_filtered(self) -> bool:
        try:
            return self._firewall.why_unfiltered() is None
        except FirewallSilentError:  # the look to come says why
            return False

    def view(self) -> NetworkView:
        placed = self._placed
        return NetworkView(
            self._rules.table,
            self._rules.size,
            placed.siblings if placed else None,
            self._trouble,
            self._count_lately(),
        )

    async def watch(self) -> None:
        self._firewall.listen(self._rules.table, self._flag.set)
        while True:
            was_closed = self.closed is not None
            # It stays closed for as long as the look takes, which begins with the flag down.
            self._trouble = self.closed
            self._flag.clear()
            trouble = await self._find_trouble()
            self._settle(trouble)
            if was_closed or trouble is not None:
                # Who asks for a network is told at the door where waiting would lead to nothing.
                self._heed(trouble if trouble is not None and trouble.is_lasting else None)
            await self._tell()
            await asyncio.sleep(self._pause())
            await self._flag.wait(LOOK_SECONDS if trouble is None else RETRY_SECONDS)

    async def _find_trouble(self) -> NetworkRefusal | None:
        """None: the rules are in place, and bridged packets pass through them."""
        try:
            await self._keep_rules()
            await self._have_filter_on()
        except (
            BridgeNameTakenError,
            BridgeOutOfSightError,
            FirewallUnusableError,
            SiblingsUnfilteredError,
        ) as error:
            return NetworkRefusal(str(error), error.remedy, is_lasting=True)
        except AgentError as error:
            # The engine is away, or nft hangs: it may pass by itself.
            return NetworkRefusal(str(error), error.remedy)
        return None

    async def _keep_rules(self) -> None:
        table = self._rules.table
        if self._placed is None:
            await self._require_own_bridge()
            self._placed = await self._firewall.put(self._rules)
            log.info("network.rules_placed", table=table, siblings=self._placed.siblings)
            return
        found = await self._firewall.fingerprint(table)
        if found == self._placed.fingerprint:
            return
        what = "gone" if found is None else "changed"
        # From here on nobody starts, however long it takes.
        self._trouble = NetworkRefusal(f"the rules of the network were {what}", "They are being put back.")
        log.warning("network.rules_lost", table=table, what=what)
        self._placed = None
        self._placed = await self._firewall.put(self._rules)
        self._put_back_at.append(_loop_time())
        log.warning("network.rules_put_back", table=table)
        self._untold.append(NewEvent("network.rules_put_back", {"table": table, "what": what}))

    async def _require_own_bridge(self) -> None:
        """Before the first rules. An interface of that name may be another's, or the host's own way out, which they would shut.

        Where rules are there already an earlier daemon has asked, and nobody waits for the engine to renew them.
        """
        if self._is_bridge_known:
            return
        bridge, table = self._rules.bridge, self._rules.table
        is_news = self._firewall.sees(bridge) and await self._firewall.fingerprint(table) is None
        # Not made where it is missing: an engine makes a network of a bridge that it finds, whosever that is.
        if is_news and await self._bridge.find() is None:
            raise BridgeNameTakenError(bridge)
        self._is_bridge_known = True

    async def _have_filter_on(self) -> None:
        """The engine turns it on as it makes a bridge without traffic between containers. What somebody turned off stays off."""
        bridge = self._rules.bridge
        if self._firewall.sees(bridge) and self._firewall.why_unfiltered() is None:
            return
        await self._bridge.ensure()
        if not self._firewall.sees(bridge):
            raise BridgeOutOfSightError(bridge)
        why = self._firewall.why_unfiltered()
        if why is not None:
            raise SiblingsUnfilteredError(why)

    def _settle(self, trouble: NetworkRefusal | None) -> None:
        self._trouble = trouble
        if trouble == self._told_trouble:
            return
        self._told_trouble = trouble
        if trouble is not None:
            log.warning("network.closed", why=trouble.message, remedy=trouble.remedy)
            self._untold.append(
                NewEvent("network.closed", {"why": trouble.message, "remedy": trouble.remedy})
            )
        else:
            log.info("network.opened")
            self._untold.append(NewEvent("network.opened", {}))

    async def _tell(self) -> None:
        """Rules come first; what there is to tell of them waits until it can be written."""
        events = tuple(self._untold)
        if not events:
            return
        try:
            await self._store.tell_of_host(events)
        except StoreUnavailableError as error:
            log.warning("state.unavailable", code=error.code, error=str(error))
            return
        self._untold.clear()

    def _pause(self) -> float:
        return min(MOST_PAUSE_SECONDS, PAUSE_SECONDS * 2.0 ** self._count_lately())

    def _count_lately(self) -> int:
        since = _loop_time() - LATELY_SECONDS
        return sum(at >= since for at in self._put_back_at)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
