"""cli/pages — a list of the API, page by page, read as if it were one. Knows no list."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.cli.request import QueryValue, get

if TYPE_CHECKING:
    from agent.cli.client import Api

# The most that the API gives at once.
PAGE = 200


async def read_pages(
    api: "Api", path: str, query: Mapping[str, QueryValue], most: int | None = None
) -> dict[str, Any]:
    """As one page, with at most `most` items; None: all that there are."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        limit = PAGE if most is None else min(PAGE, most - len(items))
        asked = {**query, "limit": limit}
        page = await api.ask(get(path, asked if cursor is None else {**asked, "cursor": cursor}))
        items += page["items"]
        cursor = page["next"]
        if cursor is None or (most is not None and len(items) >= most):
            return {"items": items, "next": cursor}
