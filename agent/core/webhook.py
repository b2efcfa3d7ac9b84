"""core/webhook — an event as a signed message, by Standard Webhooks 1.0.0. Sends nothing and keeps no secret.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import json

from agent.core.event_form import show_event
from agent.core.job import Event
from agent.spec import read_key


def message_id(event: Event) -> str:
    """The same for each try of one event, and no other event's: not even of a later job that got the same id.

    Without a full stop, which sets off the parts of what is signed.
    """
    return f"{event.job}_{event.n}_{int(event.at * 1000)}"


def message_body(event: Event) -> bytes:
    """As the event stream has it, on one line."""
    return json.dumps(show_event(event), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def sign(secret: str, sent_id: str, sent_at: int, body: bytes) -> dict[str, str]:
    """The headers that prove who sent the body, and when. `sent_at`: UTC seconds of this try. Raises ValueError."""
    signed = b".".join((sent_id.encode(), str(sent_at).encode(), body))
    digest = hmac.new(read_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": sent_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
