"""core/proxy_origins — whether a browser's request to a job's page comes from that page, or from somebody else's. Pure.

The pages of all jobs lie below one domain, so that browsers take them for one site: SameSite keeps no job's page from sending
requests, with the visitor's cookie, to the page of another job. The browser says where a request comes from; this listens.
"""

from collections.abc import Mapping

SAFE_METHODS = frozenset({"GET", "HEAD"})


def comes_from_elsewhere(method: str, headers: Mapping[str, str], own_origins: frozenset[str]) -> bool:
    """Whether another page sent it. Whoever follows a link, types an address or opens a bookmark sends it himself."""
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in own_origins:
        return True
    site = headers.get("sec-fetch-site")
    if site in {None, "same-origin", "none"}:
        return False
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (is_link and method in SAFE_METHODS)
