"""Pulls from a real registry that misbehaves: each failure has its code, each byte shows, and a cancel ends the pull."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import DockerStage
from hostile_registry import PASSWORD, USER

from agent.adapters.docker.pulls import auth_header
from agent.core.container import Credentials, PullProgress
from agent.interfaces import PullFailedError
from agent.spec.image import parse_reference
from tests.contract.engine_contract import collect, opened
from tests.private_engine import PrivateEngine, busybox_image

LOGIN = Credentials(USER, PASSWORD)


@dataclass(frozen=True)
class Registry:
    plain: int
    private: int
    upstream: int


@pytest.fixture(scope="module")
def registry(
    private_engine: PrivateEngine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    script = Path(__file__).with_name("hostile_registry.py")
    command = [*private_engine.prefix, sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        ports = Registry(**json.loads(process.stdout.readline()))
        push(private_engine, image, f"127.0.0.1:{ports.upstream}/ok/busybox:1")
        yield ports
        process.stdin.close()


def push(engine: PrivateEngine, image: str, target: str) -> None:
    cli = ["docker", "--host", f"unix://{engine.socket}"]
    for arguments in (["tag", image, target], ["push", "-q", target], ["rmi", target]):
        done = subprocess.run([*cli, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture
async def fresh(stage: DockerStage) -> AsyncIterator[None]:
    """The layer must come from the registry: neither an image of the engine may hold it, nor a container that an earlier test left."""
    for left in json.loads(await stage.request("GET", "/containers/json?all=1")):
        await stage.request("DELETE", f"/containers/{left['Id']}?force=1")
    for known in json.loads(await stage.request("GET", "/images/json")):
        await stage.request("DELETE", f"/images/{known['Id']}?force=1")
    yield
    await asyncio.to_thread(busybox_image, stage.private)


async def pull(stage: DockerStage, reference: str, login: Credentials | None = None) -> list[PullProgress]:
    async with asyncio.timeout(60):
        return [progress async for progress in stage.engine.pull(reference, login)]


async def refusal(stage: DockerStage, reference: str, login: Credentials | None = None) -> str:
    with pytest.raises(PullFailedError) as raised:
        await pull(stage, reference, login)
    return raised.value.reason_code


@pytest.mark.usefixtures("fresh")
async def test_a_pull_tells_its_progress_and_gives_an_image_with_its_digest(
    stage: DockerStage, registry: Registry
) -> None:
    reference = f"127.0.0.1:{registry.plain}/drips/busybox:1"
    told = await pull(stage, reference)
    done = [progress.done_bytes for progress in told]
    assert done == sorted(done)
    assert len(set(done)) > 3
    assert told[-1].done_bytes == told[-1].total_bytes > 500_000
    assert told[-1].layers_done == told[-1].layers_total == 1
    image = await stage.engine.image(reference)
    assert image is not None
    assert image.digest.startswith(f"127.0.0.1:{registry.plain}/drips/busybox@sha256:")
    by_digest = await stage.engine.image(image.digest)
    assert by_digest == image
    await pull(stage, image.digest)


@pytest.mark.parametrize(
    ("repository", "code"),
    [
        ("refused/busybox:1", "image_denied"),
        ("forbidden/busybox:1", "image_denied"),
        ("broken/busybox:1", "registry_unavailable"),
        ("missing/busybox:1", "image_not_found"),
        ("ok/busybox:no-such-tag", "image_not_found"),
        ("platform/busybox:1", "image_wrong_platform"),
    ],
)
async def test_each_refusal_has_its_code(
    stage: DockerStage, registry: Registry, repository: str, code: str
) -> None:
    assert await refusal(stage, f"127.0.0.1:{registry.plain}/{repository}") == code


async def test_a_registry_that_is_not_there_is_unavailable(stage: DockerStage) -> None:
    assert await refusal(stage, "127.0.0.1:1/ok/busybox:1") == "registry_unavailable"


@pytest.mark.usefixtures("fresh")
async def test_a_private_image_needs_the_password(stage: DockerStage, registry: Registry) -> None:
    reference = f"127.0.0.1:{registry.private}/ok/busybox:1"
    assert await refusal(stage, reference) == "image_denied"
    assert await refusal(stage, reference, Credentials(USER, "wrong")) == "image_denied"
    await pull(stage, reference, LOGIN)
    assert await stage.engine.image(reference) is not None


@pytest.mark.parametrize("mode", ["hangs", "drips"])
@pytest.mark.usefixtures("fresh")
async def test_a_pull_that_is_cancelled_leaves_no_image(
    stage: DockerStage, registry: Registry, mode: str
) -> None:
    reference = (
        f"127.0.0.1:{registry.plain}/{mode}/busybox:{uuid.uuid4().hex[:8] if mode == 'hangs' else '1'}"
    )
    async with aclosing(opened(stage.engine.pull(reference, None))) as stream:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(collect(stream), 0.3)
    assert await stage.engine.image(reference) is None


def test_credentials_are_sent_as_the_api_wants_them() -> None:
    header = auth_header(parse_reference("example.org/x"), Credentials("me", "ü"))["X-Registry-Auth"]
    assert set(header) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
    assert auth_header(parse_reference("example.org/x"), None) == {}
