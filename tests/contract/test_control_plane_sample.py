"""examples/control_plane.py as a process: what it is sent by each protocol, and by whom it lets itself be sent nothing."""

import asyncio
import hashlib
import hmac
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.core.delivery import Failure, Sent
from agent.core.job import Event
from agent.core.outgoing import Reply
from agent.core.webhook import message_body, message_id, sign
from agent.interfaces import OutgoingRequest
from agent.spec import Upload, UploadTo, read_url
from tests.contract.outgoing_world import client
from tests.contract.upload_values import File, ended_job
from tests.contract.upload_ways import Destination, Way
from tests.contract.uploads_contract import UploadsContract
from tests.upload_servers import free_port, wait_for

pytestmark = pytest.mark.slow
SAMPLE = Path(__file__).parents[2] / "examples" / "control_plane.py"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KEY = b"0123456789abcdef0123456789abcdef"


@dataclass
class Sample:
    url: str
    folder: Path
    log: Path
    hints: dict[str, Upload] = field(default_factory=dict)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    folder, log = tmp_path_factory.mktemp("received"), tmp_path_factory.mktemp("log") / "out"
    port = free_port()
    command = [sys.executable, str(SAMPLE), "--port", str(port), "--folder", str(folder), "--secret", SECRET]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(port, process, log)
        made = Sample(f"http://127.0.0.1:{port}", folder, log)
        for line in made.lines():
            name, _, upload = line.partition(" ")
            made.hints[name] = Upload.model_validate_json(upload)
        yield made
    finally:
        process.terminate()
        assert process.wait(10) == 0
        assert "Traceback" not in log.read_text()


@dataclass
class Received:
    """What of one job is there. `attempt`: chutes and tus name none."""

    sample: Sample
    upload: Upload
    job: str
    attempt: str
    manifest: str | None = "manifest.json"

    async def files(self) -> dict[str, bytes]:
        top = self.sample.folder / self.job / self.attempt
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def signed(text: str) -> str:
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def received(sample: Sample, protocol: str, job: str) -> Received:
    upload = sample.hints[protocol]
    if protocol == "chutes":
        status_url = f"{sample.url}/chutes/{job}?s={signed(f'ticket {job}')}"
        return Received(sample, Upload(to=UploadTo.CHUTES, status_url=status_url), job, "1", None)
    if protocol == "tus":
        return Received(sample, upload.model_copy(update={"metadata": {"job": job}}), job, "1")
    return Received(sample, upload, job, "2")


PROTOCOLS = ("put", "presign", "chutes", "tus")


class TestSample(UploadsContract):
    @pytest.fixture(params=PROTOCOLS)
    async def way(
        self, request: pytest.FixtureRequest, sample: Sample, tmp_path: Path
    ) -> AsyncIterator[Way[Destination]]:
        name = hashlib.sha256(tmp_path.name.encode()).hexdigest()[:32]  # a name of pytest's may be too long
        async with client() as outgoing:
            yield Way(received(sample, request.param, name), outgoing, job=replace(ended_job(), id=name))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_it_prints_at_its_start_is_a_spec_that_works(sample: Sample, protocol: str) -> None:
    async with client() as outgoing:
        way = Way(Received(sample, sample.hints[protocol], "any", "1"), outgoing)
        assert await way.send(File(f"hint-{protocol}")) == [Sent()]
    assert any(f"hint-{protocol}" in line for line in sample.lines() if line.startswith("stored"))


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "a//b", "./a", "x" * 256, "nul\0"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_no_name_leads_out_of_its_folder(sample: Sample, protocol: str, name: str) -> None:
    """Of an agent that does not look at names, as a stranger's would not."""
    before = sorted(sample.folder.parent.iterdir())
    async with client() as outgoing:
        way = Way(received(sample, protocol, "evil"), outgoing, job=replace(ended_job(), id="evil"))
        if protocol == "chutes":
            with pytest.raises(AssertionError):  # its outcome is refused
                await way.send(File(name))
        else:
            (answer,) = await way.send(File(name))
            assert isinstance(answer, Failure)
            assert answer.status == 400
    assert sorted(sample.folder.parent.iterdir()) == before
    assert not (sample.folder / "evil").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_who_has_no_token_stores_nothing(sample: Sample, protocol: str) -> None:
    upload = received(sample, protocol, "other").upload
    wrong = {"headers": {"Authorization": "Bearer wrong"}}
    if protocol == "chutes":
        wrong = {"status_url": f"{upload.status_url}0"}  # type: ignore[dict-item] # of another shape
    async with client() as outgoing:
        way = Way(Received(sample, upload, "other", "1"), outgoing)
        deliveries = way.opened(upload=upload.model_copy(update=wrong))
        if protocol == "chutes":
            with pytest.raises(AssertionError):
                async with deliveries:
                    pass
            return
        async with deliveries as delivery:
            answer = await delivery.send(File("a"))
    assert answer == Failure("status_refused", is_passing=False, status=401)


async def test_of_a_file_that_broke_off_nothing_is_left(sample: Sample) -> None:
    parts = sample.folder / ".parts"
    before = set(parts.iterdir())
    _, writer = await asyncio.open_connection("127.0.0.1", read_url(sample.url).port)
    token = sample.hints["put"].headers["Authorization"]
    writer.write(f"PUT /put/broken/1/a HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n".encode())
    writer.write(b"Content-Length: 100\r\n\r\nnot all of it")
    async with asyncio.timeout(10):
        while set(parts.iterdir()) == before:
            await asyncio.sleep(0.01)
        writer.close()
        while set(parts.iterdir()) != before:
            await asyncio.sleep(0.01)
    assert not (sample.folder / "broken").exists()


@pytest.mark.parametrize("change", ["e=1", "s=0", "a path", "a kind"])
async def test_a_signed_url_is_good_for_one_name_and_a_while(sample: Sample, change: str) -> None:
    expires = "1" if change == "e=1" else str(int(time.time()) + 60)
    signature = signed(f"signed {expires} job 1 a") if change != "s=0" else "0" * 64
    kind, path = "form" if change == "a kind" else "signed", "b" if change == "a path" else "a"
    url = f"{sample.url}/{kind}/job/1/{path}?e={expires}&s={signature}"
    async with client() as outgoing:
        assert await outgoing.send(OutgoingRequest("PUT", read_url(url), {}, b"x", 5.0)) == Reply(403)


async def test_tus_keeps_what_arrived_of_a_chunk_without_a_checksum_and_nothing_of_one_with_a_wrong_one(
    sample: Sample,
) -> None:
    headers = {**sample.hints["tus"].headers, "Tus-Resumable": "1.0.0"}
    metadata = {"Upload-Length": "10", "Upload-Metadata": "filename YQ=="}
    async with client() as outgoing:

        async def ask(method: str, url: str, own: dict[str, str], body: bytes = b"") -> Reply:
            answer = await outgoing.send(
                OutgoingRequest(method, read_url(url), {**headers, **own}, body, 5.0)
            )
            assert isinstance(answer, Reply)
            return answer

        place = sample.url + (await ask("POST", f"{sample.url}/tus", metadata)).headers["location"]
        wrong = {"Upload-Offset": "0", "Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
        assert (await ask("PATCH", place, wrong, b"01234")).status == 460
        assert (await ask("HEAD", place, {})).headers["upload-offset"] == "0"
        assert (await ask("PATCH", place, {"Upload-Offset": "0"}, b"01234")).headers["upload-offset"] == "5"
        assert (await ask("PATCH", place, {"Upload-Offset": "0"}, b"01234")).status == 409
        assert (await ask("PATCH", place, {"Upload-Offset": "5"}, b"0123456789")).status == 413
        assert (await ask("HEAD", f"{sample.url}/tus/{'0' * 32}", {})).status == 404


def event() -> Event:
    return Event(7, 3, "job-1", "alice", time.time(), "job.phase", {"from": "queued", "to": "starting"})


async def hooked(sample: Sample, headers: dict[str, str], body: bytes) -> int:
    async with client() as outgoing:
        url = read_url(f"{sample.url}/hooks")
        answer = await outgoing.send(OutgoingRequest("POST", url, headers, body, 5.0))
    assert isinstance(answer, Reply)
    return answer.status


async def test_a_notification_is_printed_once_and_a_forged_one_never(sample: Sample) -> None:
    told = event()
    body = message_body(told)
    headers = sign(SECRET, message_id(told), int(time.time()), body)
    assert [await hooked(sample, headers, body) for _ in range(2)] == [204, 204]
    stale = sign(SECRET, "old", int(time.time()) - 301, body)
    other = sign("another secret, long enough", "other", int(time.time()), body)
    refused = [(stale, body), (other, body), (headers, body + b" "), ({}, body)]
    assert [await hooked(sample, told_by, sent) for told_by, sent in refused] == [401, 401, 401, 400]
    assert [line for line in sample.lines() if line.startswith("event")] == ["event job-1 job.phase starting"]


async def test_a_name_is_printed_on_one_line(sample: Sample) -> None:
    async with client() as outgoing:
        way = Way(received(sample, "put", "lines"), outgoing, job=replace(ended_job(), id="lines"))
        assert await way.send(File("a\nstored forged\x1b[2J")) == [Sent()]
    assert not any(line.startswith("stored forged") or "\x1b" in line for line in sample.lines())
