"""spec/headers — which headers of a request are never a user's to set. Knows no URL."""

# They frame the request: one that a user sets may smuggle a second request, or reach another site behind the same address.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def frames_request(header: str) -> bool:
    """Whether the header of this name frames a request, or says to whom it goes."""
    return header.lower() in _OWN_HEADERS
