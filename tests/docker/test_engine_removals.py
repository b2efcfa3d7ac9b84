"""What is left of a container that was removed: nothing, not even the volumes that its image asked for."""

import json
from dataclasses import replace
from urllib.parse import quote

from conftest import DockerStage

from tests.contract.engine_contract import until_exited
from tests.private_engine_host import busybox_tar


async def volumes(stage: DockerStage) -> set[str]:
    listed = json.loads(await stage.request("GET", "/volumes"))["Volumes"] or []
    return {volume["Name"] for volume in listed}


async def test_the_volumes_that_the_image_asked_for_go_with_the_container_and_no_others(
    stage: DockerStage,
) -> None:
    made = f"/images/create?fromSrc=-&repo=gatest/keeper&tag=1&changes={quote('VOLUME /data')}"
    await stage.request("POST", made, busybox_tar())
    await stage.request("POST", "/volumes/create", {"Name": "strangers"})
    before = await volumes(stage)
    plan = replace(stage.shell("keeper", "echo kept > /data/file"), image="gatest/keeper:1")
    container = await stage.run(plan)
    await until_exited(stage.engine, container)
    assert len(await volumes(stage) - before) == 1
    assert await stage.engine.remove(container)
    assert await volumes(stage) == before
    await stage.request("DELETE", "/volumes/strangers")
    await stage.request("DELETE", "/images/gatest/keeper:1")
