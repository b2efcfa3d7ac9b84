"""jobs/health — the checks of /health, one by one: what was found, since when, and what to do. Mends nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import structlog

from agent.aio import spawn
from agent.errors import AgentError
from agent.interfaces import Clock

log = structlog.get_logger(__name__)

# Shorter than the engine adapter's own deadlines, so that an engine that hangs is told from one that is down.
PROBE_SECONDS = 4.0
# /readyz takes no token: whoever asks often gets the last answer.
FRESH_SECONDS = 2.0


class CheckState(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe saw. `evidence` is a fact, `remedy` what to do (empty where nothing is to be done).

    `private`: the same with names that are not for every principal, for who looks after the host.
    """

    state: CheckState
    evidence: str
    remedy: str = ""
    private: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """`since` is when it took its present state, UTC seconds; the daemon's start at the earliest."""

    name: str
    state: CheckState
    since: float
    evidence: str
    remedy: str
    private: str = ""

    def evidence_for(self, *, sees_host: bool) -> str:
        return (sees_host and self.private) or self.evidence


Probe = Callable[[], Awaitable[Finding]]


class Health:
    """All checks. `needed` names those without which the host can take no job: a failure of one is "not ready"."""

    def __init__(self, clock: Clock, probes: Mapping[str, Probe], needed: frozenset[str]) -> None:
        self._clock = clock
        self._probes = probes
        self._needed = needed
        self._checks: tuple[Check, ...] = ()
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    async def look(self) -> tuple[Check, ...]:
        """Every check, at most FRESH_SECONDS old. Never raises: a probe that fails is a failed check."""
        async with self._looking:
            loop = asyncio.get_running_loop()
            if loop.time() - self._looked_at >= FRESH_SECONDS:
                self._checks = await self._look_anew()
                self._looked_at = loop.time()
            return self._checks

    async def unready(self) -> tuple[Check, ...]:
        """The failed checks that a job needs. Empty: ready."""
        return tuple(
            check
            for check in await self.look()
            if check.state is CheckState.FAIL and check.name in self._needed
        )

    async def _look_anew(self) -> tuple[Check, ...]:
        async with asyncio.TaskGroup() as group:
            tasks = {
                name: spawn(group, run_probe(name, probe), f"probe {name}")
                for name, probe in self._probes.items()
            }
        before = {check.name: check for check in self._checks}
        return tuple(self._judge(name, task.result(), before.get(name)) for name, task in tasks.items())

    def _judge(self, name: str, finding: Finding, before: Check | None) -> Check:
        is_same = before is not None and before.state is finding.state
        since = before.since if before is not None and is_same else self._clock.now()
        if not is_same and (before is not None or finding.state is not CheckState.OK):
            log.warning("health.changed", check=name, state=finding.state.value, evidence=finding.evidence)
        return Check(name, finding.state, since, finding.evidence, finding.remedy, finding.private)


async def run_probe(name: str, probe: Probe, seconds: float = PROBE_SECONDS) -> Finding:
    """What the probe found, or how it failed. Never raises."""
    try:
        async with asyncio.timeout(seconds):
            return await probe()
    except TimeoutError:
        evidence = f"gave no answer within {seconds:g} s: it hangs"
        return Finding(CheckState.FAIL, evidence, f"See what holds {name} up on the host, and restart it.")
    except AgentError as error:
        return Finding(CheckState.FAIL, str(error), error.remedy)
    except Exception:
        # The top of a probe's task: a defect in one check must not hide the others.
        log.exception("probe.crashed", check=name)
        # What it raised is in the log alone: /health is for every principal, and nobody knows what it may tell.
        return Finding(CheckState.FAIL, "the check itself failed", "Report it with the agent's log.")
