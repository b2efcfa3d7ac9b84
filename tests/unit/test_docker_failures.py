"""The engine's words for what went wrong, and whose fault we make of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.docker.failures import (
    Refusal,
    is_engine_away,
    is_layer_unbounded,
    refused_pull,
    refused_start,
    start_failure,
)
from agent.core.job import FailureKind
from agent.core.reasons import CATALOGUE
from agent.interfaces import StartFailedError

RUNC = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
INIT = RUNC + "unable to start container process: error during container init: "
NO_RUNTIME = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    "unable to retrieve OCI runtime error (open /run/docker/moby/ab/log.json: no such file or directory): "
)
GPU = (FailureKind.GPU, "gpu_start_failed", None)
ENGINE = (FailureKind.ENGINE, "engine_refused", None)
NOT_FOUND = (FailureKind.COMMAND, "command_not_found", None)
HOSTILE = "nvidia: Bind for 0.0.0.0:22222 failed: port is already allocated: context canceled: x"
LOOP = "SecureJoin /data/overlay2/1/merged/loop: too many levels of symbolic links: unknown"
QUOTA = (FailureKind.VOLUME, "quota_volume_failed", None)
VOLUME = "error while mounting volume '/var/lib/docker/volumes/v/_data': failed to mount local volume: "
NETWORK = "driver failed programming external connectivity on endpoint gpu-agent-j-1 (99be): "

STARTS = [
    (
        500,
        NETWORK + "Bind for 0.0.0.0:20000 failed: port is already allocated",
        FailureKind.PORT,
        "port_taken",
        20000,
    ),
    (
        500,
        NETWORK + "Bind for :::20000 failed: port is already allocated",
        FailureKind.PORT,
        "port_taken",
        20000,
    ),
    (
        500,
        NETWORK + "Bind for fd11:2233:4455:6677::1:20005 failed: port is already allocated",
        FailureKind.PORT,
        "port_taken",
        20005,
    ),
    (
        500,
        NETWORK
        + "Error starting userland proxy: listen tcp6 [fd11:2233:4455:6677::1]:20003: bind: address already in use",
        FailureKind.PORT,
        "port_taken",
        20003,
    ),
    (
        500,
        NETWORK
        + "Error starting userland proxy: listen tcp4 192.0.2.9:20006: bind: cannot assign requested address",
        FailureKind.ENGINE,
        "engine_refused",
        None,
    ),
    (
        500,
        NETWORK + "Bind for [::]:20000 failed: port is already allocated",
        FailureKind.PORT,
        "port_taken",
        20000,
    ),
    (
        500,
        NETWORK + "Error starting userland proxy: listen tcp4 0.0.0.0:20009: bind: address already in use",
        FailureKind.PORT,
        "port_taken",
        20009,
    ),
    (
        500,
        NETWORK + "Error starting userland proxy: listen udp4 0.0.0.0:20009: bind: address already in use",
        FailureKind.PORT,
        "port_taken",
        20009,
    ),
    (
        500,
        "failed to set up container networking: failed to bind host port for 0.0.0.0:20007:172.17.0.2:80/tcp: address already in use",
        FailureKind.PORT,
        "port_taken",
        20007,
    ),
    (
        400,
        RUNC + 'exec: "nvidia-smi": executable file not found in $PATH: unknown',
        FailureKind.COMMAND,
        "command_not_found",
        None,
    ),
    (
        400,
        RUNC
        + 'exec: "port is already allocated": stat port is already allocated: no such file or directory: unknown',
        FailureKind.COMMAND,
        "command_not_found",
        None,
    ),
    (
        400,
        RUNC + 'exec: "/etc/passwd": permission denied: unknown',
        FailureKind.COMMAND,
        "command_not_executable",
        None,
    ),
    (400, RUNC + "exec /run.sh: exec format error", FailureKind.COMMAND, "command_not_executable", None),
    (400, "no command specified", FailureKind.COMMAND, "command_not_found", None),
    (
        400,
        "unable to find user bob: no matching entries in passwd file",
        FailureKind.COMMAND,
        "bad_user",
        None,
    ),
    (
        500,
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=GPU-9",
        FailureKind.GPU,
        "gpu_start_failed",
        None,
    ),
    (
        500,
        'CDI device injection failed: failed to inject devices: failed to stat CDI host device "/dev/dri/card9"',
        *GPU,
    ),
    (
        500,
        'could not select device driver "cdi" with capabilities: []',
        FailureKind.GPU,
        "gpu_start_failed",
        None,
    ),
    (
        500,
        RUNC + "nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown",
        FailureKind.GPU,
        "gpu_start_failed",
        None,
    ),
    (
        400,
        "unknown or invalid runtime name: nvidia",
        FailureKind.GPU,
        "gpu_start_failed",
        None,
    ),
    (
        400,
        NO_RUNTIME + "fork/exec /usr/bin/nvidia-container-runtime: no such file or directory: unknown",
        *GPU,
    ),
    (400, NO_RUNTIME + 'exec: "nvidia-container-runtime": executable file not found in $PATH: unknown', *GPU),
    (400, NO_RUNTIME + "fork/exec /opt/runsc: no such file or directory: unknown", *ENGINE),
    (
        400,
        INIT + "error running hook #0: fork/exec /usr/bin/nvidia-ctk: no such file or directory: unknown",
        *GPU,
    ),
    (
        500,
        INIT
        + "error running prestart hook #0: exit status 1, stderr: nvidia-container-cli: GPU-9: unknown device",
        *GPU,
    ),
    (500, INIT + "error running hook #1: exit status 1, stdout: , stderr: no network: unknown", *ENGINE),
    (500, INIT + 'error mounting "/usr/lib/libnvcuvid.so.550" to rootfs at "/usr/lib/x": no such file', *GPU),
    # A job's own words, where they look like the engine's of its runtime and hooks.
    (400, INIT + 'exec: "error running hook #0: nvidia": no such file or directory: unknown', *NOT_FOUND),
    (
        400,
        "unable to find user failed to create task error running hook #0: nvidia: no matching entries in passwd file",
        FailureKind.COMMAND,
        "bad_user",
        None,
    ),
    # And of places in its container that its image makes impossible.
    (
        500,
        INIT
        + f'error mounting "/state/outputs" to rootfs at "/loop {HOSTILE}": create mount destination: {LOOP}',
        *ENGINE,
    ),
    (
        500,
        INIT
        + f'error mounting "/state/outputs" to rootfs at "/x": error mounting "{HOSTILE}" to rootfs at "/": {LOOP}',
        *ENGINE,
    ),
    (
        500,
        f"cannot mount volume over existing file, file exists /data/overlay2/1/merged/x {HOSTILE}",
        *ENGINE,
    ),
    (500, f"evalSymlinksInScope: too many links in /data/overlay2/1/merged/loop {HOSTILE}/y", *ENGINE),
    (400, f"invalid signal: {HOSTILE}", *ENGINE),
    (404, "No such image: x:1", FailureKind.IMAGE, "image_gone", None),
    (500, VOLUME + "mount /dev/loop7:/var/lib/docker/volumes/v/_data, flags: 0x6: no such device", *QUOTA),
    (500, VOLUME + "mount /dev/loop7:/var/lib/docker/volumes/v/_data, flags: 0x6: invalid argument", *QUOTA),
    # A job's own words, where they look like the engine's of a volume.
    (400, INIT + 'exec: "failed to mount local volume": no such file or directory: unknown', *NOT_FOUND),
    (404, "network gpuagent0 not found", FailureKind.ENGINE, "engine_refused", None),
    (500, "anything else", FailureKind.ENGINE, "engine_refused", None),
]


@pytest.mark.parametrize(("status", "text", "kind", "code", "host_port"), STARTS)
def test_a_refused_start_has_its_kind_its_code_and_its_port(
    status: int, text: str, kind: FailureKind, code: str, host_port: int | None
) -> None:
    failure = start_failure(Refusal(status, text))
    assert (failure.kind, failure.code, failure.host_port) == (kind, code, host_port)
    assert not is_engine_away(Refusal(status, text))
    assert code in CATALOGUE


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (503, "anything"),
        (500, 'connection error: desc = "transport: dial unix /run/containerd/containerd.sock": unavailable'),
        (
            500,
            "transport: Error while dialing dial unix /run/containerd/containerd.sock: connect: no such file",
        ),
        (500, "transport: error while dialing: dial unix:///run/docker/containerd/containerd.sock: timeout"),
        (500, "rpc error: code = Unavailable desc = transport is closing"),
        (500, "ttrpc: closed: unknown"),
        (500, "failed to create task for container: ttrpc: closed"),
        (500, "context canceled"),
        (500, "failed to create task for container: context deadline exceeded: unknown"),
    ],
)
def test_an_engine_that_can_work_no_more_is_away_and_refuses_nothing(status: int, text: str) -> None:
    assert is_engine_away(Refusal(status, text))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", "image_not_found"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "image_wrong_platform"),
        (
            "image with reference x was found but does not match the specified platform",
            "image_wrong_platform",
        ),
        (
            "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access",
            "image_denied",
        ),
        ("Head https://example.org/v2/x/manifests/1: no basic auth credentials", "image_denied"),
        ("unauthorized: incorrect username or password", "image_denied"),
        ("received unexpected HTTP status: 500 Internal Server Error", "registry_unavailable"),
        ("dial tcp: lookup example.invalid: no such host", "registry_unavailable"),
        ("toomanyrequests: You have reached your pull rate limit", "registry_unavailable"),
        ("write /var/lib/docker/x: no space left on device", "registry_unavailable"),
    ],
)
def test_a_pull_that_fails_says_whose_fault_it_is(text: str, code: str) -> None:
    error = refused_pull(text)
    assert error.reason_code == code
    assert str(error) == text
    assert code in CATALOGUE


# What an engine says when it can work no more, out of a job's mouth.
MOUTH = [
    "containerd.sock",
    "dial unix /run/containerd/containerd.sock",
    ": unavailable",
    "transport is closing",
    ": ttrpc: closed: unknown",
    "context canceled",
    ": context deadline exceeded",
]


@pytest.mark.parametrize("said", MOUTH)
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("unable to find user {}: no matching entries in passwd file", "bad_user"),
        ("unable to find group {}: no matching entries in group file", "bad_user"),
        ("the working directory '{}' is invalid, it needs to be an absolute path", "command_not_executable"),
        ("mkdir /var/lib/docker/overlay2/1/merged/etc/passwd/{}: not a directory", "command_not_executable"),
        ("lstat /var/lib/docker/overlay2/1/merged/etc/passwd/{}: not a directory", "command_not_executable"),
        (
            RUNC
            + 'runc create failed: unable to start container process: chdir to cwd ("/{}") set in config.json'
            " failed: not a directory: unknown",
            "command_not_executable",
        ),
        (RUNC + 'exec: "{}": executable file not found in $PATH: unknown', "command_not_found"),
    ],
)
def test_what_a_job_says_of_itself_is_no_word_of_the_engine(said: str, text: str, code: str) -> None:
    error = refused_start(Refusal(500, text.format(said)))
    assert isinstance(error, StartFailedError)
    assert error.failure.code == code


def test_a_file_of_that_name_is_no_engine_that_is_away() -> None:
    assert not is_engine_away(Refusal(500, "mounting /srv/containerd.sock: no such file or directory"))


WORDS = st.sampled_from(["denied", "unauthorized", "x", "access-denied", "denied-x", "unauthorized.y"])
UNREACHABLE = [
    'Head "https://{host}/v2/{path}/manifests/{tag}": dial tcp 203.0.113.9:443: connect: connection refused',
    "Head https://{host}/v2/{path}/manifests/{tag}: dial tcp 203.0.113.9:443: i/o timeout",
    'Get "https://{host}/v2/": dial tcp: lookup {host} on 127.0.0.53:53: no such host',
    'Get "https://{host}/v2/": dial tcp: lookup {host}: no such host',
    'failed to resolve reference "{host}/{path}:{tag}": failed to do request: EOF',
    "received unexpected HTTP status: 502 Bad Gateway: {host}/{path}:{tag}",
]


@given(st.sampled_from(UNREACHABLE), WORDS, st.lists(WORDS, min_size=1).map("/".join), WORDS)
def test_no_image_name_makes_an_unreachable_registry_a_denial(
    text: str, host: str, path: str, tag: str
) -> None:
    assert refused_pull(text.format(host=host, path=path, tag=tag)).reason_code == "registry_unavailable"


@given(st.lists(WORDS, min_size=1).map("/".join), WORDS)
def test_no_image_name_makes_an_unknown_image_a_denial(path: str, tag: str) -> None:
    text = f"manifest for {path}:{tag} not found: manifest unknown: manifest unknown"
    assert refused_pull(text).reason_code == "image_not_found"


@pytest.mark.parametrize(
    "text",
    [
        "denied",
        "error from registry: denied",
        "pull access denied for x/denied, repository does not exist or may require 'docker login'",
        "pull access denied, repository does not exist or may require authorization: server message: x",
        "unexpected status from HEAD request to https://example.org/v2/x/manifests/1: 401 Unauthorized",
        'denied: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/x"',
        'error parsing HTTP 403 response body: no error details: {"errors":[{"code":"DENIED","detail":1}]}',
        "unauthorized: access to the requested resource is not authorized",
        "Head https://example.org/v2/x/manifests/1: authentication required",
        "no basic auth credentials",
        "Get https://example.org/v2/: incorrect username or password",
    ],
)
def test_a_registrys_denial_is_one_in_all_its_forms(text: str) -> None:
    assert refused_pull(text).reason_code == "image_denied"


def test_an_engine_whose_storage_bounds_no_layer_is_told_from_others() -> None:
    text = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
    assert is_layer_unbounded(Refusal(500, text))
    assert not is_layer_unbounded(Refusal(400, INIT + 'exec: "--storage-opt is supported only": not found'))
