"""Where functions run and what leaves them: images of all kinds, users, networks, ports, SSH, uploads."""

import io
import json
import re
import tarfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.author import Author, code_of, serving
from tests.e2e.client import expect
from tests.e2e.daemon import Daemon
from tests.e2e.python_image import program
from tests.e2e.sink import UPLOADS, Sink, sinking
from tests.e2e.ssh_client import Person, wait_ready
from tests.private_engine import PrivateEngine
from tests.ssh_kit import KITS, built_kit

Files = dict[str, tuple[bytes, int]]
pytestmark = pytest.mark.slow
QUIET = """
async def tell(self):
    await self.update_job_progress(progress=50, message="there")
    Path(self.output_dir, "said.txt").write_text("by " + str(os.getuid()))
    return {"user": os.getuid(), "networks": [name for _, name in socket.if_nameindex()]}

chute.job(name="sends", upload=True)(tell)
chute.job(name="keeps", upload=False)(tell)
"""
FUNCTIONS = (
    QUIET
    + """
@chute.job(ssh=True)
async def lets_in(self):
    while not self.should_shutdown:
        await asyncio.sleep(0.05)

@chute.job(ports=[Port(name="web", port=8080, proto="http")])
async def serves(self):
    async def answer(reader, writer):
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        body = json.dumps({"line": head.split(b"\\r\\n")[0].decode(), "ports": list(self.job_ports)}).encode()
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
        await writer.drain()
        writer.close()
    async with await asyncio.start_server(answer, "0.0.0.0", self.job_ports[0]["port"]):
        while not self.should_shutdown:
            await asyncio.sleep(0.05)
    return "served"
"""
)


@dataclass(frozen=True)
class Place:
    """A daemon with one chute, by an author who sends to a sink and lets a person in."""

    daemon: Daemon
    author: Author
    sink: Sink
    person: Person


@pytest.fixture(scope="module")
def place(
    session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory, python_image: str
) -> Iterator[Place]:
    built_kit()
    folder = tmp_path_factory.mktemp("places")
    settings = {"ssh": {"kit": str(KITS)}, "uploads": UPLOADS}
    with serving(session_engine, folder, settings) as daemon, sinking(daemon.net) as sink:
        person = Person(folder / "person", daemon)
        author = Author(daemon.client(daemon.token()))
        spec = {"outputs": {"upload": sink.upload()}, "ssh": {"authorized_keys": [person.public]}, "grace": 5}
        yield Place(daemon, author.deployed(python_image, FUNCTIONS, spec=spec), sink, person)


def test_what_a_function_wrote_is_sent_where_the_deploy_says_unless_it_is_to_stay(place: Place) -> None:
    sends, keeps = (place.author.start(name) for name in ("sends", "keeps"))
    for job_id in (sends, keeps):
        assert place.author.client.wait_finished(job_id)["outcome"] == "succeeded"
        said = place.author.client.call("GET", f"/v1/jobs/{job_id}/outputs/said.txt")
        assert said.body == b"by 0"
    assert place.sink.files(sends)["said.txt"].data == b"by 0"
    assert not place.sink.tries(keeps)
    assert place.author.client.job(sends)["upload"]["state"] == "complete"


def test_a_person_whose_key_the_deploy_has_logs_in_where_the_decorator_lets_him(place: Place) -> None:
    job_id = place.author.start("lets_in")
    job = wait_ready(place.author.client, job_id)
    ran = place.person.ssh(job, "cat /.agent/chute/main.py | grep -c lets_in; ls /.agent")
    assert ran.stdout.decode().split()[0] == "1", ran.stderr
    place.author.client.cancel(job_id)
    assert place.author.client.wait_finished(job_id)["outcome"] == "cancelled"


def test_a_functions_port_is_reached_through_the_agent(place: Place) -> None:
    job_id = place.author.start("serves")
    path = f"/v1/jobs/{job_id}/ports/web/models?n=1"
    expect(lambda: place.author.client.call("GET", path).status == 200, "it serves")
    said = place.author.client.call("GET", path).json
    assert said["line"] == "GET /models?n=1 HTTP/1.1"
    assert [(port["name"], port["port"]) for port in said["ports"] if port["port"] != 2202] == [("web", 8080)]
    place.author.client.cancel(job_id)
    job = place.author.client.wait_finished(job_id)
    assert (job["outcome"], job["result"]) == ("cancelled", "served")


def test_a_function_runs_as_the_images_own_user_and_without_a_network(
    place: Place, session_engine: PrivateEngine, python_image: str
) -> None:
    image = changed(session_engine, python_image, "as-nobody", {}, "USER 1234:1234")
    author = Author(place.daemon.client(place.daemon.token("nobody")))
    author.deployed(image, QUIET, spec={"network": "none"})
    job = author.finished("keeps")
    assert (job["outcome"], job["error"]) == ("succeeded", None), job["reason"]
    assert job["result"] == {"user": 1234, "networks": ["lo"]}
    assert job["progress"]["message"] == "there"
    said = author.client.call("GET", f"/v1/jobs/{job['id']}/outputs/said.txt")
    assert said.body == b"by 1234"


BROKEN = {
    "no-program": (b"no program at all\n", 0o644, "command_not_executable"),
    "fails": (b"#!/bin/sh\necho 'python3: no encodings' >&2; exit 1\n", 0o755, "exit_nonzero"),
    "does-nothing": (b"#!/bin/sh\nexit 0\n", 0o755, "no_result"),
    "crashes": (b"#!/bin/sh\nkill -SEGV $$\n", 0o755, "killed_by_signal"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_image_whose_python_is_broken_is_told_of_in_the_deploys_answer(
    place: Place, session_engine: PrivateEngine, name: str
) -> None:
    program, mode, code = BROKEN[name]
    image = changed(session_engine, place.daemon.image, f"python-{name}", {"bin/python3": (program, mode)})
    reply = place.author.deploy(image, FUNCTIONS + f"\n# {name}\n")
    assert reply.status == 422
    (fault,) = reply.json["faults"]
    assert fault["code"] == code, fault
    if code == "exit_nonzero":
        (job_id,) = re.findall(r"gpu-agent logs (\S+)`", fault["remedy"])
        assert "no encodings" in place.author.client.log(job_id)


def test_a_start_with_an_image_without_python_ends_as_its_users_fault(place: Place) -> None:
    job = place.author.finished("keeps", image=place.daemon.image)
    assert (job["outcome"], code_of(job), job["reason"]["blame"]) == ("failed", "command_not_found", "user")
    assert "python3" in job["reason"]["message"]


def changed(engine: PrivateEngine, base: str, name: str, files: Files, change: str = "CMD sh") -> str:
    """The image, with these files in it, each of a mode, and this line of a Dockerfile."""
    status, body = engine.request("POST", "/containers/create", {"Image": base})
    assert status == 201, body
    container = json.loads(body)["Id"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in Path(program()).parents:
            # Of a Python that is its owner's alone here, all users of the image have the use.
            entry = tarfile.TarInfo(str(folder).lstrip("/") or ".")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    assert engine.request("PUT", f"/containers/{container}/archive?path=/", buffer.getvalue())[0] == 200
    query = urllib.parse.urlencode(
        {"container": container, "repo": f"gpu-agent-test/{name}", "tag": "1", "changes": change}
    )
    status, body = engine.request("POST", f"/commit?{query}", {})
    assert status == 201, body
    assert engine.request("DELETE", f"/containers/{container}")[0] == 204
    return f"gpu-agent-test/{name}:1"
