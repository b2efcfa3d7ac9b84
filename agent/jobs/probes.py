"""jobs/probes — what each check of /health looks at. Each takes what it reads; who runs them is `health`."""

from collections.abc import Awaitable, Callable

from agent.interfaces import Clock, Engine, Store
from agent.jobs.health import CheckState, Finding, Probe

FREE_WARN_BYTES = 5 << 30
FREE_FAIL_BYTES = 256 << 20
# More than any clock drifts between two looks, less than what would move a deadline that somebody notices.
CLOCK_STEP_SECONDS = 5.0
HEALTH_KEY = "health.written_at"


def engine_probe(engine: Engine) -> Probe:
    """Whether the engine answers. One that is down raises, one that hangs runs into the probe's deadline."""

    async def probe() -> Finding:
        facts = await engine.facts()
        if not facts.seccomp:
            remedy = "Use an engine with seccomp; no job is started on one without."
            return Finding(CheckState.FAIL, f"engine {facts.version} has no seccomp", remedy)
        told = f"engine {facts.version}, API {facts.api_version}, cgroup v{facts.cgroup_version}"
        return Finding(CheckState.OK, told)

    return probe


def live_restore_probe(engine: Engine) -> Probe:
    """Whether containers outlive a restart of the engine."""

    async def probe() -> Finding:
        if (await engine.facts()).live_restore:
            return Finding(CheckState.OK, "containers outlive a restart of the engine")
        return Finding(
            CheckState.FAIL,
            "live-restore is off: a restart of the engine ends every job (outcome lost)",
            'Set "live-restore": true in /etc/docker/daemon.json and reload the engine.',
        )

    return probe


def store_probe(store: Store, clock: Clock) -> Probe:
    """Whether the database can be written: a disk that is full or read-only shows at a write only."""

    async def probe() -> Finding:
        await store.set_meta(HEALTH_KEY, str(clock.now()))
        return Finding(CheckState.OK, f"written and read; {await store.last_event_seq()} events so far")

    return probe


def disk_probe(free_bytes: Callable[[], Awaitable[int]]) -> Probe:
    """Whether the state folder has room."""

    async def probe() -> Finding:
        free = await free_bytes()
        told = f"{free / (1 << 30):.1f} GiB free"
        if free >= FREE_WARN_BYTES:
            return Finding(CheckState.OK, told)
        state = CheckState.FAIL if free < FREE_FAIL_BYTES else CheckState.WARN
        remedy = "Free space on the disk of the state folder, or shorten [outputs] retention."
        return Finding(state, told, remedy)

    return probe


def clock_probe(clock: Clock) -> Probe:
    """Whether the wall clock was stepped since the daemon started. Deadlines are on the boot clock and hold; times shown jump."""
    began = clock.now() - clock.boot_seconds()

    async def probe() -> Finding:
        step = clock.now() - clock.boot_seconds() - began
        if abs(step) < CLOCK_STEP_SECONDS:
            return Finding(CheckState.OK, f"within {CLOCK_STEP_SECONDS:.0f} s of the boot clock")
        return Finding(
            CheckState.WARN,
            f"the wall clock was stepped by {step:+.0f} s since the agent started",
            "Keep the clock in step with NTP; timeouts hold, but not_before and times shown follow the wall clock.",
        )

    return probe
