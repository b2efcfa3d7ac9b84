"""spec/notify — where a job's events are sent, as a user writes it. Whether this host may reach it is not decided here."""

import base64
from collections.abc import Iterator

from agent.spec.faults import Fault
from agent.spec.urls import read_url

# Standard Webhooks 1.0.0, "Signature scheme": base64 behind this prefix, of 24 to 64 random bytes.
SECRET_PREFIX = "whsec_"  # noqa: S105 - it begins every such secret
LEAST_KEY_BYTES, MOST_KEY_BYTES = 24, 64


def read_key(secret: str) -> bytes:
    """The key to sign with: what `whsec_` is followed by, decoded; any other text as it is. Raises ValueError."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError as error:
        raise ValueError(f"is not base64 behind {SECRET_PREFIX}") from error
    if not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        raise ValueError(f"must have {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} bytes behind {SECRET_PREFIX}")
    return key


def find_notify_faults(notify: object) -> Iterator[Fault]:
    """Of `notify` as decoded JSON. No fault repeats the URL or the secret."""
    if not isinstance(notify, dict):
        return
    url, secret = notify.get("url"), notify.get("secret")
    if isinstance(url, str) and url:
        try:
            read_url(url)
        except ValueError as unread:
            yield Fault("notify.url", "url_invalid", str(unread), "Write https://HOST[:PORT]/PATH.")
    if isinstance(secret, str) and secret:
        try:
            read_key(secret)
        except ValueError as unread:
            remedy = f"Write {SECRET_PREFIX} and the base64 of {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} random bytes, or other text."
            yield Fault("notify.secret", "secret_invalid", str(unread), remedy)
