"""Commands on the host itself: tokens on the state folder, the config's faults, the doctor. Each with a folder of its own."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agent.api.tokens import find_token
from agent.cli.app import app
from agent.config import Config, load_config
from agent.daemon import list_tokens

# The program sets logging up, for the whole process.
pytestmark = pytest.mark.usefixtures("restored_logging")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f'state_dir = "{tmp_path}/state"\nruntime_dir = "{tmp_path}/run"\n'
        f'[engine]\nsocket = "unix://{tmp_path}/no-docker.sock"\n[network]\ndns = ["192.0.2.1"]\n'
    )
    return path


def gpu_agent(*words: object) -> Result:
    """The program, in a thread of its own: it runs an event loop, and the test has one already."""
    environ = {"GPU_AGENT_CONFIG": "", "COLUMNS": "80"}
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(CliRunner().invoke, app, [str(word) for word in words], env=environ).result()


def read(result: Result) -> dict[str, Any]:
    document = json.loads(result.stdout)
    assert isinstance(document, dict)
    return document


def test_a_token_is_made_before_the_first_start_printed_once_and_kept_as_a_hash(
    config: Path, tmp_path: Path
) -> None:
    made = gpu_agent(
        "token", "create", "ci", "--principal", "team", "--scope", "jobs:read", "--scope", "jobs:write",
        "--expires", "90d", "--json", "--config", config,
    )  # fmt: skip
    assert made.exit_code == 0
    assert set(read(made)) == {"id", "token"}
    listed = read(gpu_agent("token", "ls", "--json", "--config", config))["items"]
    assert [(token["id"], token["name"], token["principal"]) for token in listed] == [
        (read(made)["id"], "ci", "team")
    ]
    assert listed[0]["scopes"] == ["jobs:read", "jobs:write"]
    assert read(made)["token"] not in (tmp_path / "state" / "agent.db").read_bytes().decode("latin-1")


async def test_what_is_made_is_what_the_api_takes(config: Path) -> None:
    made = await asyncio.to_thread(gpu_agent, "--config", config, "token", "create", "me")
    (record,) = await list_tokens(load_config(config, {}))
    assert find_token([record], made.stdout.strip()) is record
    assert (record.principal, record.scopes, record.expires_at) == ("me", ("jobs:read", "jobs:write"), None)
    lasting = await asyncio.to_thread(
        gpu_agent, "token", "create", "x", "--expires", "1d", "--json", "--config", config
    )
    kept = [token for token in await list_tokens(load_config(config, {})) if token.id == read(lasting)["id"]]
    assert kept[0].expires_at is not None
    assert kept[0].expires_at - kept[0].created_at == 86_400


def test_a_revoked_token_is_gone_and_one_that_is_not_there_is_told(config: Path) -> None:
    token = read(gpu_agent("token", "create", "a", "--json", "--config", config))
    assert gpu_agent("token", "revoke", token["id"], "--config", config).exit_code == 0
    assert read(gpu_agent("token", "ls", "--json", "--config", config))["items"] == []
    again = gpu_agent("token", "revoke", token["id"], "--config", config)
    assert again.exit_code == 1
    assert "there is no token" in again.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--scope", "jobs:everything"], "jobs:everything"), (["--expires", "soon"], "'soon'")],
)
def test_a_scope_that_there_is_not_and_a_span_that_is_none_are_refused(
    config: Path, words: list[str], told: str
) -> None:
    refused = gpu_agent("token", "create", "a", *words, "--config", config)
    assert refused.exit_code == 1
    assert told in refused.stderr
    assert read(gpu_agent("token", "ls", "--json", "--config", config))["items"] == []


def test_config_check_names_every_fault_with_its_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[api]\nlisten = "nowhere"\nsokket = "/x"\n[limits]\npids = 0\n')
    told = gpu_agent("config", "check", "--config", path)
    assert told.exit_code == 1
    assert told.stdout == ""
    for fault in (f"{path}:2 api.listen", f"{path}:3 api.sokket no such key; the nearest known one is api.socket", f"{path}:5 limits.pids"):  # fmt: skip
        assert fault in told.stderr
    document = json.loads(gpu_agent("config", "check", "--json", "--config", path).stderr)
    assert [fault["line"] for fault in document["faults"]] == [2, 3, 5]
    assert document["code"] == "config_invalid"


def test_config_check_of_a_good_file_and_of_one_that_is_not_there(config: Path, tmp_path: Path) -> None:
    assert gpu_agent("config", "check", "--config", config).stdout == f"{config}: no faults\n"
    missing = gpu_agent("config", "check", "--config", tmp_path / "missing.toml")
    assert missing.exit_code == 1
    assert "missing.toml" in missing.stderr


def test_config_show_prints_what_counts_and_it_reads_back(config: Path, tmp_path: Path) -> None:
    shown = gpu_agent("config", "show", "--config", config)
    (tmp_path / "again.toml").write_text(shown.stdout)
    assert load_config(tmp_path / "again.toml", {}) == load_config(config, {}) != Config()
    assert read(gpu_agent("config", "show", "--json", "--config", config))["network"]["dns"] == ["192.0.2.1"]


def test_the_doctor_says_what_is_wrong_since_when_and_what_to_do_and_fails(config: Path) -> None:
    found = gpu_agent("doctor", "--json", "--config", config)
    assert found.exit_code == 1
    document = read(found)
    checks = {check["name"]: check for check in document["checks"]}
    assert document["state"] == "fail"
    assert checks["engine"]["state"] == "fail"
    assert checks["engine"]["remedy"]
    assert checks["dns"]["state"] == "ok"
    shown = gpu_agent("doctor", "--config", config).stdout
    assert "✗  engine" in shown
    assert "✓  dns" in shown
    assert "→ " in shown
    assert "health.changed" not in shown


def test_a_repair_that_cannot_ask_the_engine_changes_nothing_and_says_why(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "agent.db").write_bytes(b"not a database")
    refused = gpu_agent("doctor", "--repair", "--config", config)
    assert refused.exit_code == 1
    assert "engine" in refused.stderr
    assert (tmp_path / "state" / "agent.db").read_bytes() == b"not a database"
