"""api/limits — how much and how long the API bears with a client. Values only; who enforces each is said beside it."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Seconds unless named otherwise. `stream_seconds` is the operator's ([api] stream_timeout), the others are ours."""

    stream_seconds: float  # streams: a reader that takes nothing for so long is cut
    header_seconds: float = (
        10.0  # connection: from the connection, or a request's first byte, to the end of its headers
    )
    idle_seconds: float = 75.0  # connection: between two requests
    body_seconds: float = 30.0  # body: from the headers to the end of the body
    form_seconds: float = 600.0  # deploy_form: the same, of an archive of code
    keep_alive_seconds: float = 15.0  # events: proxies close what is silent for a minute
    recheck_seconds: float = 5.0  # streams: how long one may flow on after its token was revoked
    streams_per_token: int = 64  # streams
    port_connect_seconds: float = (
        5.0  # proxy: until a job's port has taken the connection; it is on this host
    )
    port_answer_seconds: float = (
        300.0  # proxy: from the request's last byte to the end of the answer's headers
    )
    port_idle_seconds: float = 3600.0  # proxy: while neither side sends anything


LIMITS = web.AppKey("limits", ApiLimits)
