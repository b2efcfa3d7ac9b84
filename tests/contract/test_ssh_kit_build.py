"""Kits built of this distribution's packages, on this host: what comes out, and what is left where it goes wrong. Downloads some."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.adapters.ssh import KitNotBuiltError, build_kit, find_kit
from agent.adapters.ssh.kit import CURRENT, check_kit
from agent.core.ssh_kit import KitTrouble, SshKit
from tests.private_engine_host import wait
from tests.ssh_kit import KITS, built_kit, lay_kit

pytestmark = pytest.mark.slow

TOOLS = ("apt-cache", "apt-get", "dpkg-deb", "dpkg-query", "patchelf")
# What dpkg-deb itself runs, where packages have to be fetched.
THEIRS = ("tar",)


@pytest.fixture(scope="session")
def ready() -> SshKit:
    """That it can be built here at all, with lists of packages and all."""
    return built_kit()


def entries(root: Path) -> set[str]:
    return {entry.name for entry in root.iterdir()}


def tools_without(folder: Path, missing: str) -> str:
    folder.mkdir()
    for name in (*TOOLS, *THEIRS):
        found = shutil.which(name)
        if name != missing and found is not None:
            (folder / name).symlink_to(found)
    return str(folder)


def test_the_same_packages_and_scripts_give_the_same_kit(ready: SshKit, tmp_path: Path) -> None:
    kit = build_kit(tmp_path / "state" / "ssh-kit")
    assert (kit.hash, kit.version) == (ready.hash, ready.version)
    assert entries(tmp_path / "state" / "ssh-kit") == {kit.hash, CURRENT}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_building_it_again_changes_nothing(ready: SshKit) -> None:
    before = {path: path.stat().st_ctime_ns for path in Path(ready.path).rglob("*")}
    assert build_kit(KITS) == ready
    assert {path: path.stat().st_ctime_ns for path in Path(ready.path).rglob("*")} == before


def test_whatever_the_umask_any_user_of_an_image_may_run_it(ready: SshKit, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        kit = build_kit(tmp_path)
    finally:
        os.umask(old)
    assert kit.hash == ready.hash
    assert stat.S_IMODE(Path(kit.path).stat().st_mode) == 0o755
    assert stat.S_IMODE(Path(kit.path, "lib").stat().st_mode) == 0o755


def test_where_no_package_is_installed_all_are_downloaded_and_none_is_installed(
    ready: SshKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "dpkg"
    (database / "info").mkdir(parents=True)
    (database / "updates").mkdir()
    (database / "status").touch()
    monkeypatch.setenv("DPKG_ADMINDIR", str(database))
    kit = build_kit(tmp_path / "kits")
    assert {one.split()[0] for one in kit.version.split(", ")} == {
        one.split()[0] for one in ready.version.split(", ")
    }
    assert (database / "status").read_bytes() == b""
    run = subprocess.run(
        [f"{kit.path}/{kit.loader}", f"{kit.path}/dropbear", "-V"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert run.stderr.startswith("Dropbear v")


def test_a_program_finds_all_of_its_libraries_in_the_kit_whatever_the_environment_says(ready: SshKit) -> None:
    environment = {"LD_LIBRARY_PATH": "/usr/lib/x86_64-linux-gnu:/lib"}
    for program in ("dropbear", "dropbearkey", "sftp-server"):
        command = [f"{ready.path}/{ready.loader}", "--list", f"{ready.path}/{program}"]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        found = [line.split(" => ")[1] for line in told.splitlines() if " => " in line]
        assert found
        assert all(path.startswith(f"{ready.path}/lib/") for path in found), told


def test_a_damaged_kit_is_set_aside_for_those_who_have_it_and_made_anew(
    ready: SshKit, tmp_path: Path
) -> None:
    root = tmp_path / "kits"
    damaged = Path(build_kit(root).path)
    (damaged / "start").write_text("#!/bin/sh\n")
    with (damaged / "start").open() as held:
        kit = build_kit(root)
        assert held.read() == "#!/bin/sh\n"
    check_kit(Path(kit.path))
    (aside,) = (entry for entry in root.iterdir() if entry.name.startswith("damaged-"))
    assert (aside / ready.hash / "start").read_text() == "#!/bin/sh\n"


def test_an_older_kit_stays_where_it_is(ready: SshKit, tmp_path: Path) -> None:
    older = lay_kit(tmp_path, {"dropbear": b"an older server"})
    assert build_kit(tmp_path).hash == ready.hash
    check_kit(older)


@pytest.mark.parametrize("missing", TOOLS)
def test_where_a_tool_is_missing_it_is_named_and_the_kit_before_stays(
    ready: SshKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    before = lay_kit(tmp_path / "kits", {"dropbear": b"the one before"})
    monkeypatch.setenv("PATH", tools_without(tmp_path / "bin", missing))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "bin"))
    with pytest.raises(KitNotBuiltError, match=missing):
        build_kit(tmp_path / "kits")
    found = find_kit(tmp_path / "kits")
    assert isinstance(found, SshKit)
    assert found.path == str(before)
    assert entries(tmp_path / "kits") == {before.name, CURRENT}


def test_what_apt_says_of_its_failure_is_told(
    ready: SshKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Path(tools_without(tmp_path / "bin", "apt-cache"))
    (tools / "apt-cache").write_text("#!/bin/sh\necho 'E: No packages found' >&2\nexit 100\n")
    (tools / "apt-cache").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/bin")
    with pytest.raises(KitNotBuiltError, match="No packages found") as raised:
        build_kit(tmp_path / "kits")
    assert "apt-get update" in raised.value.remedy


def builder(root: Path) -> subprocess.Popen[bytes]:
    code = "import sys, pathlib, agent.adapters.ssh as kits; kits.build_kit(pathlib.Path(sys.argv[1]))"
    return subprocess.Popen([sys.executable, "-c", code, str(root)])


@pytest.mark.parametrize("at", ["packages", "kit/dropbear", "kit/lib/libc.so.6"])
def test_a_builder_that_is_killed_leaves_nothing_that_the_next_one_does_not_sweep(
    ready: SshKit, tmp_path: Path, at: str
) -> None:
    with builder(tmp_path) as killed:
        assert wait(lambda: bool(list(tmp_path.glob(f".part-*/{at}"))), 60)
        killed.kill()
    assert killed.returncode == -9
    assert isinstance(find_kit(tmp_path), KitTrouble)
    assert len(entries(tmp_path)) == 1
    assert build_kit(tmp_path).hash == ready.hash
    assert entries(tmp_path) == {ready.hash, CURRENT}


def test_two_builders_at_once_make_one_kit(ready: SshKit, tmp_path: Path) -> None:
    for one in [builder(tmp_path) for _ in range(2)]:
        with one:
            assert one.wait(60) == 0
    assert entries(tmp_path) == {ready.hash, CURRENT}
