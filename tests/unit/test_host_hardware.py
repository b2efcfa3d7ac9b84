"""What the kernel says of the host's NUMA nodes and of NVIDIA's driver."""

from pathlib import Path

from agent.adapters.linux import has_nvidia_gpus, read_node_cpus


def make_node(nodes: Path, number: int, cpus: str, memory_kib: int) -> None:
    folder = nodes / f"node{number}"
    folder.mkdir()
    (folder / "cpulist").write_text(f"{cpus}\n")
    (folder / "meminfo").write_text(
        f"Node {number} MemTotal: {memory_kib:14} kB\nNode {number} MemFree: 0 kB\n"
    )


def test_nodes_with_cpus_and_memory_are_listed(tmp_path: Path) -> None:
    make_node(tmp_path, 0, "0-3,8", 8_000_000)
    make_node(tmp_path, 1, "4-7", 8_000_000)
    make_node(tmp_path, 2, "", 80_000_000)  # a GPU's own memory, as on Grace Hopper
    make_node(tmp_path, 3, "9", 0)
    (tmp_path / "has_cpu").write_text("0-1,3\n")
    assert read_node_cpus(tmp_path) == {0: "0-3,8", 1: "4-7"}


def test_a_kernel_without_numa_has_no_nodes(tmp_path: Path) -> None:
    assert read_node_cpus(tmp_path / "node") == {}


def test_this_host_has_a_node_or_no_numa() -> None:
    assert all(cpus for cpus in read_node_cpus().values())


def test_a_host_with_the_driver_or_a_device_node_has_nvidia_gpus(tmp_path: Path) -> None:
    driver = tmp_path / "version"
    (tmp_path / "nvidiactl").touch()
    assert not has_nvidia_gpus(tmp_path, driver)
    (tmp_path / "nvidia3").touch()
    assert has_nvidia_gpus(tmp_path, driver)
    driver.touch()
    assert has_nvidia_gpus(tmp_path / "empty", driver)
