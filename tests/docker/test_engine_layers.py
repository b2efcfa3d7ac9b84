"""What a container holds of the engine's disk: its own files and its image's volumes, in allocated bytes, and no volume of ours."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from agent.adapters.docker.client import Calls, Deadlines
from agent.adapters.docker.layers import Layers, folders_of
from agent.core.container import QuotaVolume, VolumeMount
from tests.contract.engine_contract import MIB, PLENTY
from tests.docker.conftest import DockerStage
from tests.loops import needs_loops


async def run(stage: DockerStage, job: str, script: str) -> str:
    container = await stage.run(stage.shell(job, f"{script}; sync; echo ready; while :; do sleep 0.1; done"))
    await stage.until_ready(container)
    return container


async def test_a_sparse_file_counts_as_what_is_allocated(stage: DockerStage) -> None:
    script = "truncate -s 1T /sparse; dd if=/dev/zero of=/sparse bs=1M count=2 seek=500 conv=notrunc"
    held = await stage.engine.held(await run(stage, "sparse", script), PLENTY)
    assert 2 * MIB <= held.bytes < 3 * MIB


async def test_a_volume_that_the_image_asks_for_counts(stage: DockerStage) -> None:
    body = {
        "Image": stage.image,
        "Cmd": ["sh", "-c", "head -c 4194304 /dev/zero > /data/file; sync; sleep 600"],
    }
    body |= {"Volumes": {"/data": {}}}
    container = json.loads(await stage.request("POST", "/containers/create?name=gpu-agent-volumes-1", body))[
        "Id"
    ]
    await stage.request("POST", f"/containers/{container}/start")
    async with asyncio.timeout(20):
        while (await stage.engine.held(container, PLENTY)).bytes < 4 * MIB:
            await asyncio.sleep(0.05)
    assert (await stage.engine.held(container, PLENTY)).bytes < 5 * MIB


@needs_loops
async def test_a_quota_volume_of_ours_does_not_count(stage: DockerStage, tmp_path: Path) -> None:
    with loop_device(tmp_path) as device:
        volume = QuotaVolume("gpu-agent-quota", "quota", device)
        await stage.engine.ensure_volume(volume)
        plan = stage.shell("quota", "head -c 8388608 /dev/zero > /outputs/file; sync; echo ready; sleep 600")
        container = await stage.run(replace(plan, mounts=(VolumeMount(volume, "/outputs"),)))
        await stage.until_ready(container)
        assert (await stage.engine.held(container, PLENTY)).bytes < MIB
        await stage.engine.kill(container, "SIGKILL")
        async with asyncio.timeout(20):
            while not await stage.engine.remove(container):
                await asyncio.sleep(0.05)
        await stage.engine.remove_volume(volume.name)


@contextmanager
def loop_device(folder: Path) -> Iterator[str]:
    image = folder / "q.img"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(image)], check=True)
    device = subprocess.check_output(["losetup", "--find", "--show", str(image)], text=True).strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


async def test_where_the_engine_names_no_folder_it_is_asked_for_its_own_count(stage: DockerStage) -> None:
    container = await run(stage, "asked", "head -c 4194304 /dev/zero > /file")
    calls = Calls(stage.private.socket, Deadlines(5.0, 20.0))
    try:
        layers = Layers(calls)
        layers._folders[container] = ()
        held = await layers.held(container, PLENTY)
        assert 4 * MIB <= held.bytes < 5 * MIB
        layers._folders[container] = ("/nowhere",)
        assert await layers.held(container, PLENTY) == held
    finally:
        calls.close()


async def test_a_container_with_many_files_is_counted_within_its_limits(stage: DockerStage) -> None:
    script = "mkdir /many; i=0; while [ $i -lt 3000 ]; do : > /many/$i; i=$((i+1)); done"
    container = await run(stage, "many", script)
    began = time.monotonic()
    held = await stage.engine.held(container, replace(PLENTY, entries=500))
    assert time.monotonic() - began < 2
    assert (held.entries, held.is_whole) == (500, False)


async def test_the_space_is_that_of_the_engines_own_folder(stage: DockerStage) -> None:
    space = await stage.engine.space()
    assert space is not None
    assert space.device == os.stat(stage.private.root / "data").st_dev  # noqa: PTH116 - one look


def test_an_answer_without_folders_names_none() -> None:
    assert folders_of({"GraphDriver": {"Name": "overlayfs", "Data": None}, "Mounts": []}) == ()
    assert folders_of({}) == ()
    overlay = {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/d/diff"}}}
    mounts = [{"Type": "bind", "Source": "/b"}, {"Type": "volume", "Source": "/v"}]
    assert folders_of({**overlay, "Mounts": mounts}) == ("/d/diff", "/v")
