"""api/cursors — where the next page of a list begins, as text that clients hand back as it is. Reads no rows."""

import base64
import binascii
import re

from agent.api.query import Query


def read_cursor(query: Query) -> int | None:
    """The `seq` below which the page begins. Clients take a cursor as it is: only we know what is in it."""
    cursor = query.text("cursor")
    if cursor is None:
        return None
    try:
        found = re.fullmatch(rb"before:([0-9]{1,18})", base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (binascii.Error, UnicodeEncodeError):
        found = None
    if found is None:
        query.refuse("cursor", "is no cursor of ours", "Take `next` of the page before as it is.")
        return None
    return int(found[1])


def write_cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(b"before:%d" % seq).decode()
