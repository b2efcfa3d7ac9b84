"""The daemon and its SSH kit: looked for at the start, and taken over as soon as it is there; the rest goes on without."""

import shutil
from typing import Any

from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.ssh_kit import KITS, built_kit


def health(daemon: Daemon) -> dict[str, Any]:
    checks = daemon.local.call("GET", "/health").json["checks"]
    found: dict[str, Any] = next(check for check in checks if check["name"] == "ssh_kit")
    return found


def test_a_kit_that_is_missing_at_the_start_is_told_and_one_that_is_put_there_is_taken_over(
    make_daemon: Make,
) -> None:
    kit = built_kit()
    daemon = make_daemon().start()
    (line,) = daemon.said("ssh_kit.unusable")
    assert "gpu-agent kit build" in line["remedy"]
    assert health(daemon)["state"] == "warn"
    job = daemon.local.submit("echo without ssh")
    assert daemon.local.wait_finished(job)["outcome"] == "succeeded"
    shutil.copytree(KITS, daemon.state / "ssh-kit", symlinks=True)
    expect(lambda: health(daemon)["state"] == "ok", "the kit is found")
    assert kit.version in health(daemon)["evidence"]
    daemon.stop()
    daemon.start()
    (line,) = daemon.said("ssh_kit.found")
    assert line["path"] == f"{daemon.state}/ssh-kit/{kit.hash}"
