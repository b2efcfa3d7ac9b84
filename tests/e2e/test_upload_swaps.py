"""A job that swaps its files and folders for links to what is not its own, while these are sent and served: no byte of that gets out."""

import json
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.e2e.client import Client, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import REPOSITORY
from tests.e2e.sink import UPLOADS, sinking
from tests.e2e.test_uploads import wait_over

MARK = b"the host's own, or another's"
LEAST_TRIES = 12
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
        command = [sys.executable, swapper, str(root), str(target), str(5_000 * seconds)]
        served = list[bytes]()

        def were_tried() -> bool:
            """Else a slow host would have shown nothing: both ways out have given what they may, again and again."""
            sent = sum(one.data.startswith(b"mine") for one in list(sink.requests) if one.job == job_id)
            return min(sent, sum(data.startswith(b"mine") for data in served)) >= LEAST_TRIES

        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            end = time.monotonic() + seconds
            while time.monotonic() < end or not were_tried():
                assert time.monotonic() < end + 60, "files leave while they are swapped"
                served += serve_all(client, job_id)
        assert process.returncode == 0, "it swapped all the while"
        (root / "stop").touch()
        assert client.wait_finished(job_id)["outcome"] == "succeeded"
        wait_over(client, job_id)

        sent = [one.data for one in sink.requests if one.job == job_id]
        assert not [data for data in [*sent, *served] if MARK in data]
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
