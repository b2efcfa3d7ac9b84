"""spec/container — what goes into the container by name: variables, secrets, labels, paths. Works on decoded JSON, like `rules`."""

import re
from collections.abc import Iterator, Mapping

from agent.spec import limits
from agent.spec.faults import Fault, join_path
from agent.spec.forms import Body
from agent.spec.rules import look_up
from agent.spec.text import UNPRINTABLE

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A file name of its own: no separator, and no leading dot, so neither `..` nor a hidden file.
SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
OWN_LABEL_PREFIX = "gpu-agent."
# What the agent tells a job, and what the NVIDIA runtime reads: a job can rely on the first, and never widens its lease by
# the second. Other names of theirs are the author's (NVIDIA_API_KEY).
RESERVED_ENV = re.compile(
    r"GPU_AGENT_.*|OUTPUT_DIR|CUDA_VISIBLE_DEVICES|NVIDIA_(?:VISIBLE_DEVICES|DRIVER_CAPABILITIES|REQUIRE_.*"
    r"|MIG_(?:CONFIG|MONITOR)_DEVICES|IMEX_CHANNELS|GDS|GDRCOPY|MOFED|NVSWITCH)",
    re.DOTALL,
)

# Mounting a folder over one of these breaks the container, hides a mask of the engine, or hides what the agent mounts
# (/run/secrets, /.agent). Below them and above them is refused alike.
RESERVED_PATHS = (
    "/proc",
    "/sys",
    "/dev",
    "/etc",
    "/run",
    "/var/run",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/boot",
    "/.agent",
)


def find_container_faults(body: Body) -> Iterator[Fault]:
    """Find every bad name, value, label and path, and the clashes between secrets and variables."""
    yield from find_env_faults(read_map(body, "env"))
    yield from find_secret_faults(read_map(body, "secrets"))
    yield from find_secrets_env_faults(body)
    yield from find_label_faults(read_map(body, "labels"))
    yield from find_path_fault("workdir", body.get("workdir"))
    yield from find_path_fault("outputs.path", look_up(body, "outputs.path"))
    yield from find_reserved_fault(look_up(body, "outputs.path"))


def is_reserved_env(name: str) -> bool:
    """Whether a variable of this name is the agent's to set, in the open or by a secret."""
    return RESERVED_ENV.fullmatch(name) is not None


def read_map(body: Body, field: str) -> Mapping[str, object]:
    value = body.get(field)
    return value if isinstance(value, dict) else {}


def find_env_faults(env: Mapping[str, object]) -> Iterator[Fault]:
    yield from find_count_fault("env", len(env), limits.MAX_ENV)
    for name, value in env.items():
        field = join_path("env", name)
        if len(name) > limits.MAX_ENV_NAME_CHARACTERS or not ENV_NAME.fullmatch(name):
            yield tell_env_name(field)
        if is_reserved_env(name):
            yield tell_reserved_name(field)
        if isinstance(value, str):
            yield from find_bytes_fault(field, f"{name}={value}", limits.MAX_ARGUMENT_BYTES)


def find_secret_faults(secrets: Mapping[str, object]) -> Iterator[Fault]:
    yield from find_count_fault("secrets", len(secrets), limits.MAX_SECRETS)
    for name, value in secrets.items():
        field = join_path("secrets", name)
        if not SECRET_NAME.fullmatch(name):
            yield Fault(
                field,
                "secret_name_invalid",
                "must be a file name of 1 to 128 letters, digits and . _ -, the first a letter or digit",
                "Rename it.",
            )
        if isinstance(value, str):
            yield from find_bytes_fault(field, value, limits.MAX_SECRET_BYTES)


def find_secrets_env_faults(body: Body) -> Iterator[Fault]:
    names, secrets, env = body.get("secrets_env"), read_map(body, "secrets"), read_map(body, "env")
    if not isinstance(names, list):
        return
    if len(names) > limits.MAX_SECRETS:
        yield from find_count_fault("secrets_env", len(names), limits.MAX_SECRETS)
        return
    for index, name in enumerate(names):
        if not isinstance(name, str):
            continue
        field = join_path("secrets_env", index)
        if name not in secrets:
            yield Fault(
                field,
                "secret_unknown",
                "names no entry of secrets",
                "Add it to secrets, or leave it out here.",
            )
        if not ENV_NAME.fullmatch(name):
            yield tell_env_name(field)
        if is_reserved_env(name):
            yield tell_reserved_name(field)
        if name in env:
            yield Fault(field, "env_duplicate", "is set by env too", "Keep it in one of the two.")
        if names.index(name) != index:
            yield Fault(field, "secret_duplicate", "is named twice", "Name each secret once.")


def tell_env_name(field: str) -> Fault:
    return Fault(
        field,
        "env_name_invalid",
        f"must match ^[A-Za-z_][A-Za-z0-9_]*$ and have at most {limits.MAX_ENV_NAME_CHARACTERS} characters",
        "Rename the variable.",
    )


def tell_reserved_name(field: str) -> Fault:
    return Fault(
        field,
        "reserved_name",
        "is a variable that the agent sets itself",
        "Rename it, or leave it out; GPUs are asked for in gpus.",
    )


def find_label_faults(labels: Mapping[str, object]) -> Iterator[Fault]:
    yield from find_count_fault("labels", len(labels), limits.MAX_LABELS)
    for key, value in labels.items():
        field = join_path("labels", key)
        if len(key) > limits.MAX_LABEL_KEY_CHARACTERS or not LABEL_KEY.fullmatch(key):
            most = limits.MAX_LABEL_KEY_CHARACTERS
            words = f"1 to {most} letters, digits and . _ / - after the first"
            yield Fault(field, "label_key_invalid", f"must have a key of {words}", "Rename the label.")
        if key.lower().startswith(OWN_LABEL_PREFIX):
            yield Fault(
                field,
                "label_reserved",
                f"begins with {OWN_LABEL_PREFIX}, which is the agent's",
                "Rename the label.",
            )
        if isinstance(value, str) and len(value) > limits.MAX_LABEL_VALUE_CHARACTERS:
            yield Fault(
                field,
                "too_long",
                f"has more than {limits.MAX_LABEL_VALUE_CHARACTERS} characters",
                "Shorten it.",
            )
        if isinstance(value, str) and UNPRINTABLE.search(value):
            yield Fault(
                field, "unprintable", "holds a line end or another control character", "Write it on one line."
            )


def find_path_fault(field: str, path: object) -> Iterator[Fault]:
    if not isinstance(path, str):
        return
    parts = path.split("/")[1:]
    is_normal = path == "/" or all(part not in {"", ".", ".."} for part in parts)
    if not path.startswith("/") or not is_normal:
        yield Fault(
            field,
            "path_invalid",
            "must be absolute, without '.', '..', '//' or a '/' at its end",
            "Write it as /data/out.",
        )
    elif UNPRINTABLE.search(path) or len(path.encode()) > limits.MAX_PATH_BYTES:
        yield Fault(
            field,
            "path_invalid",
            f"must be printable and have at most {limits.MAX_PATH_BYTES} bytes",
            "Use another path.",
        )


def find_reserved_fault(path: object) -> Iterator[Fault]:
    if not isinstance(path, str) or not path.startswith("/"):
        return
    for reserved in RESERVED_PATHS:
        if f"{path}/".startswith(f"{reserved}/") or f"{reserved}/".startswith(f"{path.rstrip('/')}/"):
            yield Fault(
                "outputs.path",
                "path_reserved",
                f"would cover {reserved} of the container",
                "Use /outputs or another folder.",
            )
            return


def find_count_fault(field: str, count: int, most: int) -> Iterator[Fault]:
    if count > most:
        yield Fault(field, "too_many", f"has more than {most} entries", "Put them into a file or a secret.")


def find_bytes_fault(field: str, text: str, most: int) -> Iterator[Fault]:
    if len(text.encode()) > most:
        yield Fault(field, "too_long", f"has more than {most} bytes", "Put it into a file.")
