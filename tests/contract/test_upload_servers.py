"""The uploaders against servers of others: nginx with DAV, moto's S3 by presigned URLs, the official tus server. Real processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config

from agent.core.delivery import Failure, Sent
from agent.spec import Upload, UploadTo
from tests import upload_servers
from tests.contract.outgoing_world import client
from tests.contract.strict_endpoint import Request, Strict, answer_json, serving_strictly
from tests.contract.upload_values import JOB, File
from tests.contract.upload_ways import Destination, Way, is_known
from tests.contract.uploads_contract import MIB, NAMES, UploadsContract
from tests.upload_servers import Server, ServerMissingError

pytestmark = pytest.mark.slow
# Of each PUT that goes to nginx; S3's servers read no other than their own.
TOKEN = {"Authorization": "Bearer hush"}
BUCKET = "outputs"


@contextmanager
def or_skipped() -> Iterator[None]:
    """`make test` installs what is missing, so that there none is skipped."""
    try:
        yield
    except ServerMissingError as missing:
        pytest.skip(str(missing))


@dataclass
class NginxFiles:
    """Each test has a folder of its own below the server's."""

    server: Server
    name: str
    manifest: str | None = "manifest.json"

    @property
    def upload(self) -> Upload:
        url = f"{self.server.url}/{self.name}/{{job}}/{{attempt}}/{{path}}"
        return Upload(to=UploadTo.PUT, url=url, headers=TOKEN)

    async def files(self) -> dict[str, bytes]:
        top = self.server.folder / self.name / JOB / "2"
        found = (path for path in top.rglob("*") if path.is_file())
        return {str(path.relative_to(top)): path.read_bytes() for path in found}


@dataclass
class TusFiles:
    server: Server
    manifest: str | None = "manifest.json"
    before: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.before = set(self.server.folder.iterdir())

    @property
    def upload(self) -> Upload:
        return Upload(to=UploadTo.TUS, url=f"{self.server.url}/files", metadata={"job": JOB})

    async def files(self) -> dict[str, bytes]:
        found = {}
        for facts in sorted(set(self.server.folder.glob("*.json")) - self.before):
            told = json.loads(facts.read_text())
            data = facts.with_suffix("").read_bytes()
            assert told["metadata"]["job"] == JOB
            if len(data) == told["size"]:
                found[told["metadata"]["filename"]] = data
        return found


@dataclass
class S3Files(Strict):
    """An endpoint that signs URLs of a bucket."""

    s3: Any = None
    signer: Any = None
    prefix: str = ""
    manifest: str | None = "manifest.json"

    @property
    def upload(self) -> Upload:
        return Upload(to=UploadTo.PUT, presign=f"{self.url}/sign", headers=TOKEN)

    async def sign(self, request: Request) -> web.Response:
        self.check(request.headers.get("authorization") == "Bearer hush", "the spec's headers")
        paths = [file["path"] for file in json.loads(request.body)["files"]]
        return answer_json({"urls": {path: self.url_of(path) for path in paths}})

    def url_of(self, path: str) -> str:
        named = {"Bucket": BUCKET, "Key": self.prefix + path}
        return str(self.signer.generate_presigned_url("put_object", Params=named, ExpiresIn=300))

    async def files(self) -> dict[str, bytes]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=self.prefix).get("Contents", [])
        return {
            one["Key"].removeprefix(self.prefix): self.s3.get_object(Bucket=BUCKET, Key=one["Key"])[
                "Body"
            ].read()
            for one in listed
        }


def s3_client(url: str, signature: str) -> Any:  # noqa: ANN401 - the library makes its classes at run time
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="key",
        aws_secret_access_key="hush",
        region_name="eu-central-1",
        config=Config(signature_version=signature, s3={"addressing_style": "path"}),
    )


@asynccontextmanager
async def signing(moto: Server, signature: str, name: str) -> AsyncIterator[S3Files]:
    signer = s3_client(moto.url, signature)
    world = S3Files(s3=s3_client(moto.url, "s3v4"), signer=signer, prefix=f"{name}/")
    async with serving_strictly(world.sign, world):
        yield world
    assert world.faults == []


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with or_skipped(), upload_servers.nginx(tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with or_skipped(), upload_servers.moto(tmp_path_factory.mktemp("moto")) as server:
        bucket = {"LocationConstraint": "eu-central-1"}
        s3_client(server.url, "s3v4").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=bucket)
        yield server


@pytest.fixture(scope="module")
def tus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with or_skipped(), upload_servers.tus(tmp_path_factory.mktemp("tus")) as server:
        yield server


class TestNginx(UploadsContract):
    @pytest.fixture
    async def way(self, nginx: Server, tmp_path: Path) -> AsyncIterator[Way[Destination]]:
        async with client() as outgoing:
            yield Way(NginxFiles(nginx, tmp_path.name), outgoing)

    async def test_a_refusal_of_nginx_is_told_also_of_a_large_file(self, way: Way[Destination]) -> None:
        """It closes the connection without reading on."""
        other = way.world.upload.model_copy(update={"headers": {"Authorization": "Bearer other"}})
        async with way.opened(upload=other) as delivery:
            answer = await delivery.send(File("large", b"x" * (64 * MIB)))
        assert answer == Failure("status_refused", is_passing=False, status=401)


class TestTusServer(UploadsContract):
    @pytest.fixture
    async def way(self, tus: Server) -> AsyncIterator[Way[Destination]]:
        async with client() as outgoing:
            yield Way(TusFiles(tus), outgoing)

    async def test_a_server_that_is_killed_in_a_chunk_is_gone_on_with(self, tmp_path: Path) -> None:
        """Within the chunk: what the server had written of it is not sent again."""
        file = File("large", bytes(range(256)) * (4096 * 40))
        async with client() as outgoing:
            with or_skipped(), upload_servers.tus(tmp_path) as server:
                way: Way[TusFiles] = Way(TusFiles(server), outgoing)
                async with way.opened([file]) as delivery:
                    sending = asyncio.ensure_future(delivery.send(file))
                    async with asyncio.timeout(30):
                        while written_bytes(server.folder) < 4 * MIB:
                            await asyncio.sleep(0.001)
                    server.kill()
                    answer = await sending
            port = int(server.url.rpartition(":")[2])
            with upload_servers.tus(tmp_path, port=port):
                assert await way.send(file) == [Sent()]
                assert (await TusFiles(server).files()) == {}  # nothing was begun anew
                assert await way.world.files() == {"large": file.data}
        assert is_known(answer, "reply_broken")
        assert file.asked[0] == (0, file.size_bytes)
        assert file.asked[1][0] >= 4 * MIB

    async def test_a_place_that_the_server_let_expire_is_made_anew(self, tmp_path: Path) -> None:
        file = File("a", b"x" * 1000)
        async with client() as outgoing:
            with or_skipped(), upload_servers.tus(tmp_path, expires_seconds=0.2) as server:
                way: Way[TusFiles] = Way(TusFiles(server), outgoing)
                async with way.opened([file]) as delivery:
                    assert await delivery.send(File("empty", b"")) == Sent()
                    place = way.places.kept["empty"]
                    await way.places.keep("a", place)
                    await asyncio.sleep(0.3)
                    assert await delivery.send(file) == Sent()
                assert way.places.kept["a"] != place


def written_bytes(folder: Path) -> int:
    return max((path.stat().st_size for path in folder.iterdir() if path.suffix != ".json"), default=0)


class TestS3(UploadsContract):
    """By both ways of signing that are in use: with the older one a content type that was not signed is refused."""

    @pytest.fixture(params=["s3", "s3v4"])
    async def way(
        self, request: pytest.FixtureRequest, moto: Server, tmp_path: Path
    ) -> AsyncIterator[Way[Destination]]:
        async with signing(moto, request.param, tmp_path.name) as world, client() as outgoing:
            yield Way(world, outgoing)

    # moto itself takes no newline in a key.
    @pytest.mark.parametrize("name", [name for name in NAMES if "\n" not in name])
    async def test_a_file_arrives_under_its_name_whatever_is_in_it(
        self, way: Way[Destination], name: str
    ) -> None:
        await super().test_a_file_arrives_under_its_name_whatever_is_in_it(way, name)
