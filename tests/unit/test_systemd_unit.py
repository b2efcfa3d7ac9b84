"""The unit file keeps the promises that crash-only rests on, and its sandbox stays as tight as it says."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "gpu-agent.service"
WORST_EXPOSURE = 4.0
# The capabilities that the code uses; whoever adds one says here what for.
USED_CAPABILITIES = {
    "CAP_CHOWN",  # the API's socket to its group
    "CAP_DAC_OVERRIDE",  # outputs that images wrote as any user
    "CAP_FOWNER",  # removing those outputs out of sticky folders
    "CAP_SYSLOG",  # /dev/kmsg, where kernel.dmesg_restrict is 1
    "CAP_NET_ADMIN",  # nftables
    "CAP_SYS_ADMIN",  # nvidia-smi --gpu-reset; loop devices, and mounts of them that hang nowhere
}


def parse(text: str) -> dict[str, dict[str, list[str]]]:
    sections: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), defaultdict(list))
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section[key].append(value)
    return sections


SECTIONS = parse(UNIT.read_text())
SERVICE = {key: " ".join(values) for key, values in SECTIONS["Service"].items()}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("KillMode", "mixed"),
        ("Restart", "always"),
        ("RuntimeDirectory", "gpu-agent"),
        ("RuntimeDirectoryPreserve", "yes"),
        ("StateDirectory", "gpu-agent"),
        ("StateDirectoryMode", "0700"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("ReadWritePaths", "/var/lib/gpu-agent /run/gpu-agent -/run/lock"),
        ("SystemCallArchitectures", "native"),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
        ("DevicePolicy", "closed"),
    ],
)
def test_the_service_promises(key: str, value: str) -> None:
    assert SERVICE[key] == value


def test_it_is_restarted_without_end() -> None:
    assert SECTIONS["Unit"]["StartLimitIntervalSec"] == ["0"]


def test_no_engine_restart_takes_the_daemon_down() -> None:
    assert not {"Requires", "BindsTo", "PartOf", "Requisite"} & SECTIONS["Unit"].keys()
    assert "docker.service" in SECTIONS["Unit"]["Wants"][0]


def test_the_watchdog_and_a_memory_bound_are_on() -> None:
    assert int(SERVICE["WatchdogSec"]) > 0
    assert re.fullmatch(r"[1-9][0-9]*[MG]", SERVICE["MemoryMax"])


def test_it_has_no_capability_that_the_code_does_not_use() -> None:
    assert set(SERVICE["CapabilityBoundingSet"].split()) == USED_CAPABILITIES


def test_the_kernel_log_gpus_and_loop_devices_can_be_reached() -> None:
    assert "ProtectKernelLogs" not in SERVICE
    assert "PrivateDevices" not in SERVICE
    for device in ("char-nvidia*", "block-loop", "/dev/loop-control", "/dev/kmsg"):
        assert device in SERVICE["DeviceAllow"]
    assert "/dev/kmsg r" in SECTIONS["Service"]["DeviceAllow"]  # and not written to


def test_what_the_largest_capability_allows_beside_a_reset_is_shut() -> None:
    allowed, denied, *more = SECTIONS["Service"]["SystemCallFilter"]
    assert allowed == "@system-service"  # no mounts, modules, raw I/O, swap or reboot
    assert set(" ".join(more).split()) == {"@chown", "fsopen", "fsconfig", "fsmount"}  # and none at a path
    assert "@privileged" in denied
    for key in ("RestrictNamespaces", "ProtectHostname", "ProtectKernelModules", "ProtectKernelTunables"):
        assert SERVICE[key] == "yes"


def test_every_promise_of_the_sandbox_that_is_off_is_explained() -> None:
    text = UNIT.read_text().partition("# What stays open")[2]
    for name in (
        "CAP_DAC_OVERRIDE",
        "CAP_SYS_ADMIN",
        "CAP_NET_ADMIN",
        "ProtectKernelLogs",
        "CAP_SYSLOG",
        "ProtectProc",
        "IPAddressDeny",
        "PrivateNetwork",
        "User=",
    ):
        assert name in text


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not on this host; the table above still holds",
)


@needs_systemd
def test_the_exposure_that_systemd_computes_is_low() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout
    level = re.search(r"Overall exposure level for gpu-agent\.service: ([0-9.]+)", told)
    assert level, told
    assert float(level[1]) <= WORST_EXPOSURE


@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    # The program is not installed where tests run; all else is checked as it stands.
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
