"""The rules of the jobs' network on fakes: no job with a network starts without them, whoever takes them away, and they come back."""

import asyncio

import pytest

from agent.core.firewall_text import Siblings
from agent.core.job import EVERYONE
from agent.errors import AgentError
from agent.interfaces import FirewallSilentError, FirewallUnusableError, StoreUnavailableError
from agent.jobs.health import CheckState
from agent.jobs.host_limits import find_host_faults
from agent.jobs.network_care import LOOK_SECONDS
from agent.jobs.network_probe import network_probe, rules_probe
from agent.spec import parse_spec
from tests.fakes.engine import Fate, Program
from tests.shell.world import Outcome, Phase, World

pytestmark = pytest.mark.looptime
TABLE = "gpu_agent_gpuagent0"
UNUSABLE = FirewallUnusableError("there is no program nft")
SILENT = FirewallSilentError("nft gave no answer within 10 s")
SOON = 10.0


def make_world(concurrency: int = 8) -> World:
    world = World(concurrency=concurrency)
    world.engine.program = Program(seconds=1)
    return world


async def events(world: World) -> list[tuple[str, object]]:
    told = await world.store.events(EVERYONE, 0, None, 10_000)
    return [(event.type, event.data) for event in told if event.type.startswith("network.")]


def refusals(world: World) -> list[str]:
    assert world.shell is not None
    faults = find_host_faults(parse_spec({"image": "busybox"}), world.shell.tools.policy)
    return [fault.message for fault in faults]


async def test_a_job_with_a_network_starts_once_the_rules_are_in_place_and_one_without_does_not_wait() -> (
    None
):
    world = make_world()
    world.firewall.trouble = SILENT
    await world.start()
    wants, none = await world.submit(network="egress"), await world.submit(network="none")
    assert (await world.finish(none)).outcome is Outcome.SUCCEEDED
    waits = await world.job(wants)
    assert (waits.phase, waits.waiting_for, waits.waiting_words) == (Phase.QUEUED, "network", str(SILENT))
    world.firewall.trouble = None
    assert (await world.finish(wants, SOON)).outcome is Outcome.SUCCEEDED
    assert set(world.firewall.tables) == {TABLE}
    await world.crash()


async def test_a_host_that_can_not_hold_jobs_to_rules_refuses_those_with_a_network_and_says_what_to_do() -> (
    None
):
    world = make_world()
    world.firewall.trouble = UNUSABLE
    await world.start()
    waits = await world.submit()
    await world.until(waits, lambda job: job.waiting_for == "network", SOON)
    assert [str(UNUSABLE) in message for message in refusals(world)] == [True]
    world.firewall.trouble = None
    assert (await world.finish(waits)).outcome is Outcome.SUCCEEDED
    assert refusals(world) == []
    assert await events(world) == [
        ("network.closed", {"why": str(UNUSABLE), "remedy": UNUSABLE.remedy}),
        ("network.opened", {}),
    ]
    await world.crash()


async def test_what_may_pass_by_itself_is_no_reason_to_refuse() -> None:
    world = make_world()
    world.firewall.trouble = SILENT
    await world.start()
    await asyncio.sleep(SOON)
    assert refusals(world) == []
    await world.crash()


@pytest.mark.parametrize("is_a_network", [True, False])
async def test_no_rules_are_made_about_an_interface_that_is_somebody_elses(*, is_a_network: bool) -> None:
    world = make_world()
    world.firewall.bridges = {"gpuagent0"}
    if is_a_network:
        world.engine.strangers_networks.add("gpuagent0")
    await world.start()
    waits = await world.submit()
    await world.until(waits, lambda job: job.waiting_for == "network", SOON)
    await asyncio.sleep(2 * LOOK_SECONDS)
    assert (world.firewall.puts, world.engine.bridges) == (0, {})
    world.engine.strangers_networks.clear()
    world.firewall.bridges = world.engine.bridges
    assert (await world.finish(waits, SOON)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_rules_that_an_earlier_daemon_made_are_kept_while_the_engine_is_away() -> None:
    world = make_world()
    await world.start()
    await asyncio.sleep(SOON)
    await world.crash()
    world.engine.is_up = False
    world.firewall.change(TABLE, "what an earlier release wrote")
    await world.start()
    await asyncio.sleep(SOON)
    assert world.firewall.puts == 2
    await world.crash()


@pytest.mark.parametrize("tells", [True, False])
async def test_rules_that_somebody_took_away_are_back_within_a_minute_with_an_event(*, tells: bool) -> None:
    world = make_world()
    await world.start()
    await asyncio.sleep(SOON)
    placed = dict(world.firewall.tables)
    world.firewall.tells = tells
    world.firewall.flush()
    await asyncio.sleep(1 if tells else 60)
    assert world.firewall.tables == placed
    assert await events(world) == [("network.rules_put_back", {"table": TABLE, "what": "gone"})]
    job_id = await world.submit()
    assert (await world.finish(job_id, SOON)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_from_the_moment_that_rules_were_changed_nobody_starts_until_they_are_back() -> None:
    """Whoever was granted just before waits with his lease, and starts on it."""
    world = make_world()
    world.engine.program = Program(seconds=600)
    await world.start()
    await asyncio.sleep(SOON)
    usual = world.engine.fates

    def harm(call: str, target: str) -> Fate:
        if call == "create":
            world.firewall.trouble = SILENT
            world.firewall.change(TABLE, "table inet with a hole in it")
        return usual(call, target)

    world.engine.fates = harm
    job_id = await world.submit()
    await asyncio.sleep(60)
    job = await world.job(job_id)
    assert (job.phase, job.attempt) == (Phase.STARTING, 1)
    assert [box.seen.state for box in world.engine.boxes.values() if box.seen.started_at is not None] == []
    world.firewall.trouble = None
    assert (await world.until_phase(job_id, Phase.RUNNING, SOON)).attempt == 1
    assert ("network.opened", {}) in await events(world)
    await world.crash()


async def test_a_job_that_waits_for_the_network_holds_up_nobody_and_can_be_cancelled() -> None:
    world = make_world(concurrency=1)
    world.firewall.trouble = SILENT
    await world.start()
    first, later = await world.submit(priority=100), await world.submit(network="none")
    assert (await world.finish(later)).outcome is Outcome.SUCCEEDED
    await world.cancel(first)
    assert (await world.finish(first)).outcome is Outcome.CANCELLED
    await world.crash()


async def test_jobs_that_run_go_on_while_the_rules_are_away() -> None:
    world = make_world()
    world.engine.program = Program(seconds=600)
    await world.start()
    job_id = await world.submit()
    await world.until_phase(job_id, Phase.RUNNING)
    world.firewall.trouble = UNUSABLE
    world.firewall.flush()
    assert (await world.finish(job_id, 900)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_start_puts_the_rules_of_its_config_whatever_was_there() -> None:
    world = make_world()
    world.firewall.tables[TABLE] = "what an older agent had placed"
    await world.start()
    await asyncio.sleep(SOON)
    assert "job_to_world" in world.firewall.tables[TABLE]
    assert await events(world) == []
    puts = world.firewall.puts
    await asyncio.sleep(10 * LOOK_SECONDS)
    assert world.firewall.puts == puts  # what is as it should be is left alone
    await world.crash()


async def test_somebody_who_flushes_again_and_again_costs_a_bounded_number_of_looks_and_shows_in_health() -> (
    None
):
    world = make_world()
    await world.start()
    await asyncio.sleep(SOON)
    assert world.shell is not None
    probe = network_probe(world.shell.tools.network.view)
    assert (await probe()).state is CheckState.OK
    for _ in range(600):
        world.firewall.flush()
        await asyncio.sleep(0.1)
    assert world.firewall.puts < 30
    found = await probe()
    assert (found.state, "put back" in found.evidence) == (CheckState.WARN, True)
    await asyncio.sleep(120)
    assert (await probe()).state is CheckState.OK
    assert TABLE in world.firewall.tables
    await world.crash()


async def test_where_siblings_would_not_be_kept_apart_no_job_with_a_network_starts() -> None:
    world = make_world()
    world.firewall.unfiltered = "net.bridge.bridge-nf-call-iptables is 0"
    await world.start()
    job_id = await world.submit()
    job = await world.until(job_id, lambda job: job.waiting_for == "network", SOON)
    assert job.waiting_words == world.firewall.unfiltered
    assert refusals(world) != []
    world.firewall.unfiltered = None
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    # A switch tells nobody: it is looked at before each start.
    world.firewall.unfiltered = "net.bridge.bridge-nf-call-ip6tables is 0"
    late = await world.submit()
    assert (await world.until(late, lambda job: job.waiting_for == "network", SOON)).phase is Phase.QUEUED
    await asyncio.sleep(SOON)
    assert (await world.job(late)).waiting_words == world.firewall.unfiltered
    await world.crash()


async def test_a_switch_that_can_not_be_read_just_now_makes_wait_and_refuses_nobody() -> None:
    world = make_world()
    await world.start()
    assert (await world.finish(await world.submit())).outcome is Outcome.SUCCEEDED
    world.firewall.silent = SILENT
    job_id = await world.submit()
    job = await world.until(job_id, lambda job: job.waiting_for == "network", SOON)
    assert job.waiting_words == str(SILENT)
    assert (refusals(world), world.is_dead) == ([], False)
    world.firewall.silent = None
    assert (await world.finish(job_id)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_an_agent_that_does_not_see_the_bridge_would_guard_nobody_and_starts_nobody() -> None:
    world = make_world()
    world.firewall.elsewhere = {"gpuagent0"}
    await world.start()
    job_id = await world.submit()
    job = await world.until(job_id, lambda job: job.waiting_for == "network", SOON)
    assert "not in the agent's network namespace" in str(job.waiting_words)
    assert refusals(world) != []
    await world.crash()


async def test_for_as_long_as_a_look_takes_nobody_starts() -> None:
    world = make_world()
    await world.start()
    await asyncio.sleep(SOON)
    world.firewall.slow_seconds = 20
    world.firewall.flush()
    job_id = await world.submit()
    await asyncio.sleep(19)
    assert (await world.job(job_id)).waiting_for == "network"
    assert [box for box in world.engine.boxes.values() if box.seen.started_at is not None] == []
    world.firewall.slow_seconds = 0
    assert (await world.finish(job_id, 60)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_a_look_that_nothing_gave_a_reason_for_holds_up_nobody() -> None:
    world = make_world()
    await world.start()
    await asyncio.sleep(SOON)
    world.firewall.slow_seconds = 20
    await asyncio.sleep(LOOK_SECONDS)  # within the look
    job_id = await world.submit()
    assert (await world.finish(job_id, 5)).outcome is Outcome.SUCCEEDED
    await world.crash()


async def test_on_a_host_that_has_never_had_the_bridge_the_engine_makes_it_and_with_it_the_filter() -> None:
    world = make_world()
    usual = world.engine.fates

    def turn_on(call: str, target: str) -> Fate:
        if call == "ensure_bridge":
            world.firewall.unfiltered = None
        return usual(call, target)

    world.firewall.unfiltered = "the kernel's module br_netfilter is not loaded"
    world.engine.fates = turn_on
    await world.start()
    job_id = await world.submit()
    assert (await world.finish(job_id, 60)).outcome is Outcome.SUCCEEDED
    assert await events(world) == []
    await world.crash()


async def test_events_that_could_not_be_written_are_told_later_and_the_rules_do_not_wait_for_them() -> None:
    world = make_world()
    await world.start()
    await asyncio.sleep(SOON)

    async def refuse(step: str) -> None:
        if step == "tell_of_host":
            raise StoreUnavailableError("the disk is away")

    world.store.before, usual = refuse, world.store.before
    world.firewall.flush()
    await asyncio.sleep(SOON)
    assert TABLE in world.firewall.tables
    assert await events(world) == []
    world.store.before = usual
    await asyncio.sleep(2 * LOOK_SECONDS)
    assert [kind for kind, _ in await events(world)] == ["network.rules_put_back"]
    await world.crash()


@pytest.mark.parametrize("trouble", [UNUSABLE, SILENT])
async def test_the_check_says_why_no_job_starts_and_what_to_do(trouble: AgentError) -> None:
    world = make_world()
    world.firewall.trouble = trouble
    await world.start()
    assert world.shell is not None
    probe = network_probe(world.shell.tools.network.view)
    assert (await probe()).state is CheckState.WARN  # nobody has looked yet
    await asyncio.sleep(1)
    found = await probe()
    assert (found.state, str(trouble) in found.evidence, found.remedy) == (
        CheckState.FAIL,
        True,
        trouble.remedy,
    )
    await world.crash()


@pytest.mark.parametrize(
    ("siblings", "words"), [(Siblings.BRIDGED, "family bridge"), (Siblings.ROUTED, "br_netfilter")]
)
async def test_the_checks_say_by_what_siblings_are_kept_apart(siblings: Siblings, words: str) -> None:
    world = make_world()
    world.firewall.siblings = siblings
    await world.start()
    await asyncio.sleep(1)
    assert world.shell is not None
    assert words in (await network_probe(world.shell.tools.network.view)()).evidence

    async def tried() -> Siblings:
        return siblings

    found = await rules_probe(tried, lambda: None)()
    assert (found.state, words in found.evidence) == (CheckState.OK, True)
    assert (await rules_probe(tried, lambda: "it is off")()).state is CheckState.WARN
    await world.crash()
