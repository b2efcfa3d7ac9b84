"""The program as a process: quick to answer, and quiet where its reader has gone."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.app import app

# Programs that are started and ended: seconds together.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("aiohttp", "asyncio", "docker", "pydantic", "structlog", "agent.daemon", "agent.config", "agent.spec")


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def gpu_agent(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": "/usr/bin:/bin", "COLUMNS": "80", **environ}
    return subprocess.run(
        [sys.executable, "-m", "agent", *words],
        cwd=ROOT,
        env=settings,
        check=False,
        capture_output=True,
        text=True,
    )


def test_help_imports_nothing_that_takes_long() -> None:
    code = "import sys, agent.cli.app; print([name for name in sys.argv[1:] if name in sys.modules])"
    found = python(f"import sys; sys.argv += {SLOW!r}\n{code}")
    assert found == "[]\n"


def test_help_names_every_command_of_the_contract_and_fits_80_columns() -> None:
    told = gpu_agent("--help")
    assert told.returncode == 0
    for name in ("serve", "run", "submit", "ps", "show", "logs", "events", "stats", "top", "exec", "ssh", "stop", "rm", "chute", "schedule", "outputs", "host", "images", "token", "doctor", "config"):  # fmt: skip
        assert f"│ {name} " in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    "words",
    [["run"], ["submit"], ["ps"], ["show"], ["logs"], ["events"], ["stats"], ["top"], ["exec"], ["ssh"], ["stop"], ["rm"], ["chute", "run"], ["outputs", "ls"], ["outputs", "get"], ["outputs", "retry"], ["host", "show"], ["images", "pull"], ["token", "create"], ["token", "ls"], ["token", "revoke"], ["doctor"], ["config", "check"], ["config", "show"], ["serve"]],
)  # fmt: skip
def test_each_command_has_help_and_takes_config_and_json(words: list[str]) -> None:
    told = CliRunner().invoke(app, [*words, "--help"]).output
    assert "--config" in told
    assert "--json" in told


def test_an_agent_that_is_not_there_is_told_with_what_to_do_and_where_it_was_looked_for(
    tmp_path: Path,
) -> None:
    socket = tmp_path / "api.sock"
    told = gpu_agent("ps", GPU_AGENT__API__SOCKET=str(socket))
    assert told.returncode == 1
    assert told.stdout == ""
    assert str(socket) in told.stderr.replace("\n", "")
    assert "Is it running?" in told.stderr
    told = gpu_agent("run", "busybox", GPU_AGENT__API__SOCKET=str(socket))
    assert told.returncode == 125


def test_for_scripts_an_error_is_json_on_stderr_and_stdout_stays_empty() -> None:
    told = gpu_agent("--url", "http://127.0.0.1:1", "ps", "--json")
    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr.startswith('{"code": "agent_not_reachable", ')


def test_no_colours_where_nobody_sees_them() -> None:
    assert "\x1b" not in gpu_agent("ps", "--url", "http://127.0.0.1:1").stderr


@pytest.mark.slow
@pytest.mark.parametrize("where", [ROOT, Path("/")])
def test_serve_with_a_bad_config_names_the_faults_wherever_it_is_started(where: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[api]\nlisten = 3\n")
    told = subprocess.run(
        [sys.executable, "-m", "agent", "serve", "--config", str(path)],
        cwd=where, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 1
    assert f"{path}:2 api.listen" in told.stderr


def test_serve_runs_nothing_out_of_the_folder_that_one_stands_in(tmp_path: Path) -> None:
    (tmp_path / "structlog.py").write_text("print('not ours'); raise SystemExit(7)")
    script = "import sys; sys.path.remove(''); from agent.cli import main; main()"  # as the console script is
    told = subprocess.run(
        [sys.executable, "-c", script, "serve", "--config", "/nonexistent"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (1, "")


def test_serve_starts_from_a_folder_that_was_removed(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = f"cd {folder}; rmdir {folder}; exec {sys.executable} -m agent serve --config /nonexistent"
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    told = subprocess.run(["sh", "-c", script], env=environ, check=False, capture_output=True, text=True)
    assert (told.returncode, "config_invalid" in told.stderr) == (1, True)


def test_the_daemon_has_nothing_of_the_command_line_in_its_memory() -> None:
    serve = [sys.executable, "-X", "importtime", "-m", "agent.cli.serving", "people", "/nonexistent"]
    told = subprocess.run(serve, cwd=ROOT, check=False, capture_output=True, text=True)
    names = [line.rpartition("|")[2].strip() for line in told.stderr.splitlines()]
    loaded = names[: names.index("agent.daemon")]
    assert {"structlog", "aiohttp", "docker"} <= set(loaded)
    assert not [
        name
        for name in loaded
        if name.startswith(("rich.", "typer", "click", "pygments", "chardet.", "charset_normalizer."))
    ]


def test_the_daemon_loads_no_runtime_of_another_language_for_short_lists() -> None:
    script = """
from agent.cli.serving import main
assert main(["people", "/nonexistent"]) == 1
import frozenlist
assert frozenlist.FrozenList is frozenlist.PyFrozenList
"""
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (told.returncode, told.stdout) == (0, ""), told.stderr
