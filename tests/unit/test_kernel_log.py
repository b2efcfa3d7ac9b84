"""Records of the kernel's log: every form in which drivers write XIDs is read, and nothing that a program could write is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.kernel_log import (
    MARGIN_SECONDS,
    KernelClocks,
    XidLine,
    earliest_at,
    read_address,
    read_xid_line,
)

HEAD = b"4,1234,5678901,-;"


def read(text: str, head: bytes = HEAD) -> XidLine | None:
    return read_xid_line(head + text.encode() + b"\n")


@pytest.mark.parametrize(
    ("text", "address", "xid"),
    [
        (
            "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            (0, 0x3B, 0),
            79,
        ),
        ("NVRM: Xid (PCI:0000:3b:00): 31, pid=1234, Ch 0000001e, intr 00000000. MMU Fault", (0, 0x3B, 0), 31),
        ("NVRM: Xid (PCI:0000:3b:00): 48, An uncorrectable double bit error", (0, 0x3B, 0), 48),
        ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", (0, 1, 0), 79),
        (
            "NVRM: Xid (PCI:0000:01:00 GPU-I:05): 94, pid=7194, Contained: CE User Channel (0x9)",
            (0, 1, 0),
            94,
        ),
        (
            "NVRM: Xid (PCI:0000:3b:00 GPU-I:01 GPU-CI:02): 13, pid=9, name=a, Graphics Exception",
            (0, 0x3B, 0),
            13,
        ),
        ("NVRM: Xid (0000:03:00): 14, Channel 00000001", (0, 3, 0), 14),
        ("NVRM: Xid (PCI:10000:E1:1F): 62, x", (0x10000, 0xE1, 0x1F), 62),
        ("NVRM: Xid (PCI:0000:3b:00.0): 119, Timeout waiting for RPC from GSP!", (0, 0x3B, 0), 119),
        ("NVRM: Xid (PCI:0000:3b:00): 145", (0, 0x3B, 0), 145),
    ],
)
def test_each_form_of_an_xid_is_read(text: str, address: tuple[int, int, int], xid: int) -> None:
    assert read(text) == XidLine(address, xid, record=1234, micros=5678901)


@pytest.mark.parametrize(
    "head", [b"4,1234,5678901,-,caller=T4711;", b"2,1234,5678901,-;", b"6,1234,5678901,c;"]
)
def test_level_caller_and_fragments_make_no_difference(head: bytes) -> None:
    assert read("NVRM: Xid (PCI:0000:3b:00): 79, x", head) == XidLine((0, 0x3B, 0), 79, 1234, 5678901)


def test_the_lines_that_belong_to_a_record_make_no_difference() -> None:
    record = HEAD + b"NVRM: Xid (PCI:0000:3b:00): 79, x\n SUBSYSTEM=pci\n DEVICE=+pci:0000:3b:00.0\n"
    assert read_xid_line(record) == XidLine((0, 0x3B, 0), 79, 1234, 5678901)


@pytest.mark.parametrize(
    "text",
    [
        "NVRM: GPU at PCI:0000:3b:00: GPU-b6c3b2be-c55b-d076-fa0e-d464e4c7e08b",
        "NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.",
        "nvidia-nvswitch1: SXid (PCI:0000:06:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
        "docker0: port 1(NVRM: Xid (PCI:0000:3b:00): 79, x) entered forwarding state",
        "NVRM: Xid (PCI:[4711]: segfault at 0 ip 0000 sp 0000 error 4",
        'audit: type=1400 comm="NVRM: Xid (PCI:0000:3b:00): 79, x"',
        " NVRM: Xid (PCI:0000:3b:00): 79, x",
        "NVRM: Xid (PCI:0000:3b:00): 0, x",
        "NVRM: Xid (PCI:0000:3b:00): 79x",
        "NVRM: Xid (PCI:0000:3b:00): 12345, x",
        "NVRM: Xid (PCI:0000:3b:00): -1, x",
        "NVRM: Xid (PCI:000000000:3b:00): 79, x",
        "NVRM: Xid (PCI:3b:00): 79, x",
        "NVRM: Xid (PCI:0000:3b:00",
    ],
)
def test_what_only_looks_like_an_xid_is_none(text: str) -> None:
    assert read(text) is None


def test_the_xid_is_the_drivers_whatever_the_program_calls_itself() -> None:
    name = "NVRM: Xid (PCI:0000:af:00): 79, x"
    found = read(f"NVRM: Xid (PCI:0000:3b:00): 31, pid=1, name={name}, Ch 1")
    assert found is not None
    assert (found.address, found.xid) == ((0, 0x3B, 0), 31)


@pytest.mark.parametrize("facility", range(1, 24))
def test_what_a_program_wrote_into_the_log_is_not_the_drivers(facility: int) -> None:
    head = f"{facility * 8 + 4},1234,5678901,-;".encode()
    assert read("NVRM: Xid (PCI:0000:3b:00): 79, x", head) is None


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda more: HEAD + b"NVRM: Xid (PCI:" + more))
def test_no_record_is_too_strange(record: bytes) -> None:
    found = read_xid_line(record)
    assert found is None or 1 <= found.xid <= 9999


@pytest.mark.parametrize(
    ("pci", "address"),
    [
        ("00000000:3B:00.0", (0, 0x3B, 0)),
        ("0000:3b:00.0", (0, 0x3B, 0)),
        ("00010000:E1:1F.0", (0x10000, 0xE1, 0x1F)),
        ("", None),
        ("3b:00", None),
        ("0000:3b:00.0 ", None),
    ],
)
def test_an_address_is_the_same_however_it_is_written(pci: str, address: tuple[int, int, int] | None) -> None:
    assert read_address(pci) == address


@st.composite
def records(draw: st.DrawFn) -> tuple[int, KernelClocks, float]:
    """A stamp, the clocks at the reading, and the true moment: whichever clock the kernel's runs with, ahead by some seconds since
    the boot, and whenever the host slept.
    """
    monotonic, parted = draw(st.floats(1000, 1e7)), draw(st.sampled_from([0.0, 200.0, -200.0]))
    slept = draw(st.sampled_from([0.0, 3600.0]))
    now = KernelClocks(monotonic + slept, monotonic, monotonic - parted)
    stands = max(
        0.0, draw(st.sampled_from([now.raw, now.monotonic])) + draw(st.floats(0, MARGIN_SECONDS / 2))
    )
    stamp = stands * draw(st.floats(0, 1))
    return int(stamp * 1e6), now, now.boot - (stands - stamp) - slept * draw(st.floats(0, 1))


@given(records())
def test_the_earliest_moment_is_never_after_the_true_one(record: tuple[int, KernelClocks, float]) -> None:
    micros, now, true_at = record
    assert earliest_at(micros, now) <= true_at


def test_on_a_host_whose_clocks_agree_it_is_early_by_the_margin_alone() -> None:
    now = KernelClocks(5000.0, 5000.0, 5000.0)
    assert earliest_at(4_000_000_000, now) == 4000.0 - MARGIN_SECONDS
