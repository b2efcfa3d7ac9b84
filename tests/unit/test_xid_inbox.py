"""XIDs that wait for a look: one of a kind, one of both ways, each at its GPU, and never more than so many."""

from dataclasses import dataclass, field

from agent.core.gpus import Gpu, Inventory
from agent.core.kernel_log import LoggedXid
from agent.core.xid_reports import Reports, XidReport
from agent.jobs.xid_inbox import MOST_WAITING, XidInbox

A, B = (0, 0x3B, 0), (0, 0xAF, 0)
HOST = Inventory(
    (
        Gpu("GPU-A", "H100", 1, pci="00000000:3B:00.0"),
        Gpu("MIG-1", "A100", 1, pci="00000000:AF:00.0", mig="1g.10gb"),
        Gpu("MIG-2", "A100", 1, pci="00000000:AF:00.0", mig="1g.10gb"),
        Gpu("GPU-nowhere", "H100", 1),
    )
)
ALL = ("GPU-A", "MIG-1", "MIG-2", "GPU-nowhere")


class StillClock:
    boot_id = "boot-1"

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def boot_seconds(self) -> float:
        return self.seconds


@dataclass
class Desk:
    clock: StillClock = field(default_factory=StillClock)
    wakes: int = 0

    def __post_init__(self) -> None:
        self.inbox = XidInbox(self.clock, self._count)

    def _count(self) -> None:
        self.wakes += 1

    def log(self, *found: LoggedXid) -> None:
        self.inbox.log(found)
        self.inbox.assign(HOST)

    def take(self) -> dict[str, Reports]:
        return {uuid: reports for uuid, reports in self.inbox.take(ALL).items() if reports != Reports()}


def test_what_is_logged_goes_to_the_gpu_at_its_address_and_in_mig_mode_to_all_instances() -> None:
    desk = Desk()
    desk.log(LoggedXid(A, 79, 5, 900.0), LoggedXid(B, 31, 6, 901.0))
    one = Reports((XidReport(31, 901.0, 6),), 6)
    assert desk.take() == {"GPU-A": Reports((XidReport(79, 900.0, 5),), 5), "MIG-1": one, "MIG-2": one}
    assert desk.take() == {}
    assert desk.wakes == 1


def test_what_is_logged_of_a_gpu_that_is_not_known_yet_waits_for_it() -> None:
    desk = Desk()
    desk.inbox.log([LoggedXid(A, 79, 5, 900.0)])
    desk.inbox.assign(Inventory())
    assert desk.take() == {}
    desk.inbox.assign(HOST)
    assert desk.take() == {"GPU-A": Reports((XidReport(79, 900.0, 5),), 5)}


def test_the_second_way_adds_nothing_but_how_far_the_log_was_read() -> None:
    desk = Desk()
    desk.inbox.tell("GPU-A", 48)
    assert desk.take() == {"GPU-A": Reports((XidReport(48, 1000.0),))}
    desk.clock.seconds += 0.3
    desk.log(LoggedXid(A, 48, 5, 1000.3))
    assert desk.take() == {"GPU-A": Reports((), 5)}


def test_the_driver_adds_nothing_to_what_was_just_logged() -> None:
    desk = Desk()
    desk.log(LoggedXid(A, 48, 5, 1000.0))
    assert desk.take() == {"GPU-A": Reports((XidReport(48, 1000.0, 5),), 5)}
    desk.clock.seconds += 0.3
    before = desk.wakes
    desk.inbox.tell("GPU-A", 48)
    assert (desk.take(), desk.wakes) == ({}, before)


def test_another_kind_another_gpu_and_another_time_are_news() -> None:
    desk = Desk()
    desk.log(LoggedXid(A, 48, 5, 900.0))  # of before our start
    desk.take()
    desk.inbox.tell("GPU-A", 48)
    desk.inbox.tell("GPU-A", 62)
    desk.inbox.tell("MIG-1", 48)
    taken = desk.take()
    assert {report.xid for report in taken["GPU-A"].xids} == {48, 62}
    assert {report.xid for report in taken["MIG-1"].xids} == {48}
    desk.clock.seconds += 5
    desk.log(LoggedXid(A, 48, 6, 1005.0))
    assert desk.take() == {"GPU-A": Reports((XidReport(48, 1005.0, 6),), 6)}


def test_one_that_comes_twice_by_its_own_way_is_told_twice_though_the_other_way_told_it_once() -> None:
    desk = Desk()
    desk.inbox.tell("GPU-A", 48)
    desk.log(LoggedXid(A, 48, 5, 1000.1))
    desk.take()
    desk.clock.seconds += 0.5
    desk.inbox.tell("GPU-A", 48)
    assert desk.take() == {"GPU-A": Reports((XidReport(48, 1000.5),))}


def test_what_could_not_be_judged_waits_beside_what_came_meanwhile() -> None:
    desk = Desk()
    desk.log(LoggedXid(A, 48, 5, 900.0))
    taken = desk.inbox.take(ALL)
    desk.inbox.give_back(taken)
    assert desk.inbox.take(ALL) == taken
    desk.log(LoggedXid(A, 62, 7, 950.0))
    desk.inbox.give_back(taken)
    (reports,) = desk.take().values()
    assert {report.xid for report in reports.xids} == {48, 62}
    assert reports.record == 7


def test_a_storm_wakes_once_a_look_and_is_one_of_a_kind() -> None:
    desk = Desk()
    for number in range(10_000):
        desk.inbox.log([LoggedXid(A, 31, number, 1000.0 + number / 1e4)])
    assert desk.wakes == 1
    desk.inbox.assign(HOST)
    assert desk.take() == {"GPU-A": Reports((XidReport(31, 1000.9999, 9999),), 9999)}


def test_addresses_without_a_gpu_and_kinds_without_end_are_let_go() -> None:
    desk = Desk()
    for number in range(3 * MOST_WAITING):
        desk.inbox.log([LoggedXid((number, 0, 0), 31, number, 1000.0)])
        desk.log(LoggedXid(A, number % 9999 + 1, number, 1000.0))
        desk.take()
    assert len(desk.inbox._logged) <= MOST_WAITING
    assert len(desk.inbox._taken_in) <= MOST_WAITING
