"""`gpu-agent kit`: where this host's config has the SSH kit, whether it is whole, and why none can be built. Builds none."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agent.cli.app import app
from agent.config import Config
from agent.daemon import examine
from agent.jobs.health import Check, CheckState
from tests.ssh_kit import lay_kit

# The program sets logging up, for the whole process.
pytestmark = pytest.mark.usefixtures("restored_logging")


def kit_command(tmp_path: Path, *words: str, kit: Path | None = None) -> Result:
    config = tmp_path / "config.toml"
    named = "" if kit is None else f'[ssh]\nkit = "{kit}"\n'
    config.write_text(f'state_dir = "{tmp_path}/state"\n{named}')
    whole = ["kit", *words, "--config", str(config)]
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(CliRunner().invoke, app, whole, env={"COLUMNS": "200"}).result()


def read(result: Result) -> dict[str, Any]:
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def test_a_kit_in_the_state_folder_is_told_with_its_versions(tmp_path: Path) -> None:
    folder = lay_kit(tmp_path / "state" / "ssh-kit", {"dropbear": b"a server"})
    done = kit_command(tmp_path, "check")
    assert done.exit_code == 0
    assert done.stdout.replace("\n", "") == f"{folder} is whole: dropbear 1"
    told = read(kit_command(tmp_path, "check", "--json"))
    assert (told["ok"], told["path"], told["hash"]) == (True, str(folder), folder.name)


def test_where_the_config_names_a_folder_that_is_the_one(tmp_path: Path) -> None:
    folder = lay_kit(tmp_path / "elsewhere", {"dropbear": b"a server"})
    assert kit_command(tmp_path, "check").exit_code == 1
    told = read(kit_command(tmp_path, "check", "--json", kit=tmp_path / "elsewhere"))
    assert told["path"] == str(folder)


def test_without_one_the_exit_code_is_1_and_the_way_out_is_told(tmp_path: Path) -> None:
    done = kit_command(tmp_path, "check")
    assert done.exit_code == 1
    assert f"there is no SSH kit in {tmp_path}/state/ssh-kit" in done.stdout.replace("\n", "")
    assert "gpu-agent kit build" in done.stdout
    told = read(kit_command(tmp_path, "check", "--json"))
    assert (told["ok"], set(told)) == (False, {"ok", "message", "remedy"})


def test_a_build_that_is_not_possible_is_refused_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = kit_command(tmp_path, "build", "--json")
    assert done.exit_code == 1
    told = read(done) if done.stdout else json.loads(done.stderr)
    assert told["code"] == "ssh_kit_not_built"
    assert "apt-get" in told["detail"]


async def doctors_check(tmp_path: Path) -> Check:
    engine = {"socket": f"unix://{tmp_path}/no-docker.sock"}
    config = Config.model_validate({"state_dir": str(tmp_path / "state"), "engine": engine})
    (found,) = [check for check in await examine(config) if check.name == "ssh_kit"]
    return found


async def test_the_doctor_says_whether_there_is_one_and_the_place_to_the_hosts_owner_alone(
    tmp_path: Path,
) -> None:
    missing = await doctors_check(tmp_path)
    assert missing.state is CheckState.WARN
    assert "gpu-agent kit build" in missing.remedy
    assert str(tmp_path) not in missing.evidence
    assert str(tmp_path) in missing.private
    lay_kit(tmp_path / "state" / "ssh-kit", {"dropbear": b"a server"})
    there = await doctors_check(tmp_path)
    assert (there.state, there.evidence) == (CheckState.OK, "dropbear 1")
    assert str(tmp_path) in there.private
