"""Whose page sent a request: the one it is for, or another one of the same domain."""

import pytest

from agent.core.proxy_origins import comes_from_elsewhere

OWN = frozenset({"http://web--a.jobs.localhost:8470"})
LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),  # no browser, or an old one: the cookie is SameSite
        ("POST", {}),
        ("GET", {"sec-fetch-site": "none"}),
        ("POST", {"sec-fetch-site": "same-origin", "origin": "http://web--a.jobs.localhost:8470"}),
        ("GET", {"origin": "http://WEB--a.jobs.localhost:8470"}),
        ("GET", {"sec-fetch-site": "cross-site", **LINK}),
        ("HEAD", {"sec-fetch-site": "same-site", **LINK}),
    ],
)
def test_the_page_itself_and_a_link_to_it_may(method: str, headers: dict[str, str]) -> None:
    assert not comes_from_elsewhere(method, headers, OWN)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"origin": "http://web--b.jobs.localhost:8470"}),
        ("GET", {"origin": "https://web--a.jobs.localhost:8470"}),
        ("GET", {"origin": "http://web--a.jobs.localhost"}),
        ("POST", {"origin": "null"}),
        ("POST", {"origin": ""}),
        ("GET", {"sec-fetch-site": "same-site"}),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
        ("POST", {"sec-fetch-site": "cross-site", **LINK}),
        ("POST", {"sec-fetch-site": "same-site", **LINK}),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}),
        ("GET", {"sec-fetch-site": "whatever comes next"}),
    ],
)
def test_anothers_page_may_not(method: str, headers: dict[str, str]) -> None:
    assert comes_from_elsewhere(method, headers, OWN)
