"""cli/kit — the SSH kit of this host: build it, look it over. Needs no API and no running agent."""

from dataclasses import asdict

from agent.cli.local import Here
from agent.core.ssh_kit import KitTrouble


def build(here: Here) -> int:
    """Build what SSH into jobs runs on, of this Debian host's packages; installs none. Run it again after upgrades of them."""
    from agent import daemon  # noqa: PLC0415 - it brings every library of the daemon

    kit = daemon.make_kit(here.read_config())
    here.screen.answer_line(asdict(kit), f"{kit.path}: {kit.version}")
    return 0


def check(here: Here) -> int:
    """Compare the kit that new jobs get with its manifest. The exit code is 1 where there is none, or not as it was built."""
    from agent import daemon  # noqa: PLC0415 - as above

    found = daemon.look_for_kit(here.read_config())
    if isinstance(found, KitTrouble):
        here.screen.answer_line({"ok": False, **asdict(found)}, f"{found.message}. {found.remedy}")
        return 1
    here.screen.answer_line({"ok": True, **asdict(found)}, f"{found.path} is whole: {found.version}")
    return 0
