"""api/keys — the Idempotency-Key of a request. Compares none."""

import re

from aiohttp import web

from agent.api.endpoints import Parameter
from agent.api.problems import BadRequestError
from agent.spec import Fault

KEY = re.compile(r"[\x21-\x7e]{1,255}")
IDEMPOTENCY_KEY = Parameter("Idempotency-Key", "the same key and body give the first answer again", "header")


def read_key(request: web.Request) -> str | None:
    """None: there is none. Raises BadRequestError."""
    key = request.headers.get("Idempotency-Key")
    if key is None or KEY.fullmatch(key):
        return key
    raise BadRequestError(
        [Fault("Idempotency-Key", "bad_header", "must be 1 to 255 printable ASCII characters", "Use a UUID.")]
    )
