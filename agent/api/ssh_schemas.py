"""api/ssh_schemas — what requests and answers about SSH look like, as JSON schema. Checks nothing: `jobs/ssh_keys` does."""

from agent.api.schema_words import (
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TIME_OR_NULL,
    WHOLE,
    array_of,
    everything,
    one_of,
)
from agent.api.views import Json
from agent.core.ssh import SshState
from agent.spec.limits import MAX_KEY_SECONDS, MAX_SSH_KEYS, MIN_KEY_SECONDS


def ssh_schema() -> Json:
    """`ssh` of a job."""
    return everything(
        state=one_of(SshState), command=TEXT_OR_NULL, fingerprint=TEXT, known_hosts=TEXT_OR_NULL
    )


def ssh_schemas() -> dict[str, Json]:
    """By name, as `Endpoint.body` and `Answer.schema` refer to them."""
    key = everything(type=TEXT, fingerprint=TEXT, comment=TEXT, by=TEXT, expires_at=TIME_OR_NULL)
    seconds = {**WHOLE, "minimum": MIN_KEY_SECONDS, "maximum": MAX_KEY_SECONDS}
    return {
        "SshKeys": everything(authorized_keys={**TEXTS, "minItems": 1, "maxItems": MAX_SSH_KEYS}),
        "SshKey": everything(key=TEXT, expires_in=seconds),
        "SshAccess": everything(ssh=ssh_schema(), keys=array_of(key)),
    }
