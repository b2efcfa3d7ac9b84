"""A job that swaps its files and folders for links to what is not its own, while these are sent and served: no byte of that gets out."""

import json
import subprocess
import sys
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.e2e.client import Client, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import REPOSITORY
from tests.e2e.sink import UPLOADS, sinking
from tests.e2e.test_uploads import wait_over

MARK = b"the host's own, or another's"
# What a shell is able to: hundreds of swaps a second, each from within the container.
SWAPS = """
cd /outputs; echo mine > s-file; mkdir s-folder; echo mine > s-folder/inner; ln -s {target}/inner s-link; ln -s {target} s-dirlink
echo up > up
while [ ! -e stop ]; do
  mv -T s-file s-x; mv -T s-link s-file; mv -T s-file s-link; mv -T s-x s-file
  mv -T s-folder s-y; mv -T s-dirlink s-folder; mv -T s-folder s-dirlink; mv -T s-y s-folder
  echo mine > s-new; mv -T s-new s-file
done
"""


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("what", ["a folder of the host", "another job's outputs"])
def test_names_that_are_swapped_for_links_leak_nothing(
    make_daemon: Make, tmp_path: Path, what: str, seconds: int
) -> None:
    daemon = make_daemon({"uploads": UPLOADS}).start()
    client = daemon.local
    if what == "a folder of the host":
        target = tmp_path / "host"
        target.mkdir()
        (target / "inner").write_bytes(MARK)
    else:
        other = client.submit(f'printf "{MARK.decode()}" > /outputs/inner')
        client.wait_finished(other)
        target = daemon.state / "jobs" / other / "outputs"
        assert (target / "inner").read_bytes() == MARK
    with sinking(daemon.net) as sink:
        outputs = {"upload": sink.upload(), "live": True, "quiet": 1, "exclude": ["stop"]}
        job_id = client.submit(SWAPS.format(target=target), outputs=outputs)
        root = daemon.state / "jobs" / job_id / "outputs"
        expect((root / "up").exists, "the job swaps")
        swapper = str(REPOSITORY / "tests/e2e/swapper.py")
        command = [sys.executable, swapper, str(root), str(target), str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            served = list[bytes]()
            while process.poll() is None:
                served += serve_all(client, job_id)
            assert process.stdout is not None
            swaps = int(process.stdout.read())
        (root / "stop").touch()
        assert client.wait_finished(job_id)["outcome"] == "succeeded"
        wait_over(client, job_id)

        sent = [one.data for one in sink.requests if one.job == job_id]
        assert not [data for data in [*sent, *served] if MARK in data]
        # Otherwise nothing was tried.
        assert swaps > 5_000 * seconds
        assert sum(data.startswith(b"mine") for data in sent) > 3 * seconds
        assert sum(data.startswith(b"mine") for data in served) > seconds
        told = json.loads(sink.of(job_id)["manifest.json"].data)
        assert {"s-file", "s-folder/inner"} <= {entry["path"] for entry in told["files"]}


def serve_all(client: Client, job_id: str) -> list[bytes]:
    """By the other ways out: one by one, as a tar, hashed in a list."""
    found = []
    names = ("file", "folder/inner", "s-file", "s-folder/inner", "file-link", "folder-link/inner")
    for path in (*(f"/{name}" for name in names), "?format=tar", ""):
        try:
            reply = client.call("GET", f"/v1/jobs/{job_id}/outputs{path}")
        except HTTPException as error:  # an archive that is broken off, as it says
            found.append(getattr(error, "partial", b""))
        else:
            found.append(reply.body)
    return found
