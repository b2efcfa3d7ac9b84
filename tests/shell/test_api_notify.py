"""Notifications as the API takes and shows them: a URL that this host will not reach is refused by name, and no secret comes back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from agent.core.notify import NotifyEnd, NotifyState, NotifyTarget, NotifyTrouble
from agent.core.outgoing import OutgoingRules
from tests.shell.api_world import ApiWorld, api_world

URL = "https://hooks.example.org/a?key=hush-query"
NOTIFY = {"url": URL, "secret": "hush-secret"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


async def faults(world: ApiWorld, url: str) -> list[tuple[str, str]]:
    reply = await world.call(
        "POST", "/v1/jobs", {"image": "busybox", "notify": {"url": url, "secret": "hush-secret"}}
    )
    assert reply.status == 422, reply.raw
    assert b"hush" not in reply.raw
    assert all(fault["remedy"] for fault in reply.json["faults"])
    return [(fault["field"], fault["code"]) for fault in reply.json["faults"]]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example.org/hush", "http_refused"),
        ("https://169.254.169.254/hush", "address_refused"),
        ("https://[::1]/hush", "address_refused"),
        ("https://u:hush@hooks.example.org/", "url_invalid"),
        ("https://2130706433/hush", "url_invalid"),
        ("gopher://hooks.example.org/hush", "url_invalid"),
    ],
)
async def test_a_url_that_can_not_be_reached_is_refused_at_submit(
    world: ApiWorld, url: str, code: str
) -> None:
    assert await faults(world, url) == [("notify.url", code)]
    assert await world.store.job_ids() == set()


async def test_what_the_operator_lists_is_taken(world: ApiWorld) -> None:
    rules = OutgoingRules(allow_http=True, networks=(ip_network("10.0.0.0/8"),))
    world.intake.current.policy = replace(world.intake.current.policy, outgoing=rules)
    await world.submit(notify={"url": "http://10.1.2.3/", "secret": "s"})
    assert await faults(world, "http://10.1.2.3@192.168.0.1/") == [("notify.url", "url_invalid")]
    assert await faults(world, "http://192.168.0.1/") == [("notify.url", "address_refused")]


async def test_the_url_and_the_secret_rest_in_the_jobs_secrets_and_nowhere_else(world: ApiWorld) -> None:
    reply = await world.call("POST", "/v1/jobs", {"image": "busybox", "notify": NOTIFY})
    assert reply.json["spec"]["notify"] == {"url": "https://hooks.example.org/a?***", "secret": "***"}
    job_id = reply.json["id"]
    assert await world.folders.notify_target(job_id) == NotifyTarget(URL, "hush-secret")
    for path in (f"/v1/jobs/{job_id}", "/v1/jobs", f"/v1/jobs/{job_id}?wait=finished&timeout=0"):
        assert b"hush" not in (await world.call("GET", path)).raw
    assert files_that_hold(world.state, "hush") == ["notify.json"]
    assert world.intake.hiding.hide("said hush-secret of key=hush-query") == "said *** of ***"


def files_that_hold(folder: Path, text: str) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files if text in file.read_text(errors="replace")]


async def shown(world: ApiWorld, job_id: str) -> Any:  # noqa: ANN401 - JSON is any
    one = (await world.call("GET", f"/v1/jobs/{job_id}")).json["notify"]
    listed = {item["id"]: item["notify"] for item in (await world.call("GET", "/v1/jobs")).json["items"]}
    assert listed[job_id] == one
    return one


async def test_how_far_it_is_is_shown_in_the_job_and_in_lists(world: ApiWorld) -> None:
    assert await shown(world, await world.submit()) is None
    job_id = await world.submit(notify=NOTIFY)
    fresh = {"state": "open", "delivered": 0, "dropped": 0, "pending": 1, "last_error": None}
    assert await shown(world, job_id) == fresh
    notice = await world.store.notice(job_id)
    assert notice is not None
    trouble = NotifyTrouble(1, "status_failed", 1_900_000_000.0, 503)
    await world.store.keep_notify(notice.row, NotifyState(trouble=trouble))
    assert await shown(world, job_id) == fresh | {
        "last_error": {
            "n": 1,
            "code": "status_failed",
            "status": 503,
            "blame": "user",
            "message": "the endpoint answered with a failure",
            "remedy": "See to the endpoint; the agent tries again for a day.",
            "at": "2030-03-17T17:46:40.000Z",
        }
    }
    await world.store.keep_notify(notice.row, NotifyState(end=NotifyEnd.GONE))
    assert await shown(world, job_id) == fresh | {"state": "gone", "pending": 0}
