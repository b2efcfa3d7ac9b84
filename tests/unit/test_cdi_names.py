"""Which GPUs the CDI specs of a host name: read out of the files that NVIDIA's tool writes, as YAML and as JSON."""

import json
from pathlib import Path

import pytest

from agent.adapters.docker.cdi import read_gpu_names

ONE, MIG = "GPU-5c6a2a2e-3f1b-4c6d-8e9f-0a1b2c3d4e5f", "MIG-0b1c2d3e-4f5a-5b6c-9d8e-7f6a5b4c3d2e"
# As `nvidia-ctk cdi generate` writes it.
YAML = f"""---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-ctk
    - hook
    hookName: createContainer
    path: /usr/bin/nvidia-ctk
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: {ONE}
- name: '{MIG}'
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia-caps/nvidia-cap1
- containerEdits: {{}}
  name: all
kind: nvidia.com/gpu
"""
SPEC = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "devices": [{"name": ONE, "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}}],
}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("nvidia.yaml", YAML, {"0", ONE, MIG, "all"}),
        ("nvidia.yml", YAML, set()),  # the engine passes it over
        ("nvidia.json", json.dumps(SPEC), {ONE}),
        ("nvidia.json", json.dumps(SPEC, indent=2), {ONE}),
        ("nvidia.yaml", json.dumps(SPEC), {ONE}),  # JSON is YAML too
        ("nvidia.txt", YAML, set()),
        ("other.yaml", YAML.replace("nvidia.com/gpu", "nvidia.com/nvswitch"), set()),
        ("other.json", json.dumps(SPEC | {"kind": "vendor.com/gpu"}), set()),
        ("broken.json", json.dumps(SPEC)[:-2], set()),
        ("list.json", "[]", set()),
        ("empty.yaml", "", set()),
    ],
)
def test_the_names_of_nvidias_gpus_are_read(tmp_path: Path, name: str, text: str, expected: set[str]) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_gpu_names([str(tmp_path)]) == expected


def test_all_folders_are_read_and_what_is_missing_or_unreadable_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "nvidia.yaml").write_text(YAML)
    (tmp_path / "run" / "more.json").write_text(json.dumps(SPEC | {"devices": [{"name": "GPU-2"}]}))
    (tmp_path / "run" / "folder.json").mkdir()
    (tmp_path / "run" / "bytes.yaml").write_bytes(b"\xff\xfe")
    folders = [str(tmp_path / "none"), str(tmp_path), str(tmp_path / "run")]
    assert read_gpu_names(folders) == {"0", ONE, MIG, "all", "GPU-2"}
