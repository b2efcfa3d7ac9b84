"""api/metrics/of_host — families of the agent and of its host: what it is, its checks, its disks, its API. Pure; looks at nothing."""

from collections.abc import Mapping, Sequence

from agent.api.metrics.families import Family, Labels, Spread, counter, counters, gauge, gauges, histogram
from agent.api.traffic import BOUNDS, Traffic
from agent.core.disk_space import Spaces, Where
from agent.jobs.health import Check, CheckState

DISKS = {Where.OUTPUTS: "state", Where.LAYER: "engine"}
ENDPOINT = ("method", "endpoint")


def agent_families(version: str, started_at: float) -> tuple[Family, ...]:
    return (
        gauges("build_info", "Always 1; the agent's version.", ("version",), {(version,): 1}),
        gauge("start_time_seconds", "When the agent started, as seconds since 1970.", started_at),
    )


def health_family(checks: Sequence[Check]) -> Family:
    """Of each check the state that it is in is 1, and its others 0: so `state="ok"` alone says whether all is well with it."""
    states: dict[Labels, float] = {
        (check.name, state.value): float(check.state is state) for check in checks for state in CheckState
    }
    about = "The checks of GET /health: 1 for the state that the check is in, 0 for all others."
    return gauges("health_check", about, ("check", "state"), states)


def disk_families(spaces: Spaces) -> tuple[Family, ...]:
    """As the disk guard saw them last; a disk that can't be seen from here is missing."""
    room: dict[Labels, float] = {(DISKS[where],): space.free_bytes for where, space in spaces.items()}
    files: dict[Labels, float] = {
        (DISKS[where],): space.free_files for where, space in spaces.items() if space.free_files is not None
    }
    return (
        gauges("disk_free_bytes", "Free bytes of the disk of the state folder, and of the engine's.", ("disk",), room),
        gauges("disk_free_inodes", "Free inodes of these disks, where they are counted.", ("disk",), files),
    )  # fmt: skip


def api_families(traffic: Traffic, auth_failures: int, streams: Mapping[str, int]) -> tuple[Family, ...]:
    spreads: dict[Labels, Spread] = {
        labels: Spread(BOUNDS, tuple(times.counts), times.seconds) for labels, times in traffic.times.items()
    }
    about = "From a request's head until its answer is ready; of streams, long polls and answers of the class 4xx there are none."
    return (
        counters("api_requests_total", "Requests that were answered, by the template of their path and the class of the status.", (*ENDPOINT, "status"), dict(traffic.answers)),
        histogram("api_request_duration_seconds", about, ENDPOINT, spreads),
        counter("api_auth_failures_total", "Requests without a valid token, since the agent started.", auth_failures),
        gauges("api_streams_open", "Open streams, requests to jobs' ports, and calls of cords.", ("kind",), {(kind,): n for kind, n in streams.items()}),
    )  # fmt: skip
