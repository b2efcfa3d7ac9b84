"""daemon/reload — SIGHUP: the config is read again, what can change while running changes, the rest is named."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from agent import log as logging
from agent.aio import Flag
from agent.config import Config, ConfigError, changed_keys
from agent.daemon.values import cord_times_of, output_limits_of, policy_of, queue_limits_of
from agent.jobs.assembly import Settings
from agent.jobs.current import Current
from agent.jobs.janitor import Janitor
from agent.jobs.outputs import Outputs

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Places:
    """Where the daemon reads, each time anew, what the config may change while it runs."""

    settings: Settings
    current: Current
    janitor: Janitor
    outputs: Outputs
    allow_uploads: Callable[[int], None]
    ask_grant: Callable[[], None]


class Reload:
    """Standing task `watch`; `ask` is for the signal's handler."""

    def __init__(self, config: Config, read_config: Callable[[], Config] | None, places: Places) -> None:
        self._config = config
        self._read_config = read_config
        self._places = places
        self._flag = Flag()

    def ask(self) -> None:
        self._flag.set()

    async def watch(self) -> None:
        while True:
            await self._flag.wait()
            self._flag.clear()
            self._reload()

    def _reload(self) -> None:
        """A config with a fault changes nothing: the running one stays, and the log names each fault."""
        if self._read_config is None:
            log.warning("config.not_reloaded", remedy="the agent was started without a config file")
            return
        try:
            new = self._read_config()
        except ConfigError as error:
            log.warning("config.not_reloaded", error=str(error))
            return
        changes = changed_keys(self._config, new)
        self._apply(new)
        log.info("config.reloaded", changed=changes.reloadable, needs_restart=changes.needs_restart)

    def _apply(self, new: Config) -> None:
        logging.change_level(new.log.level)
        places = self._places
        places.settings.queue_limits = queue_limits_of(new)
        places.settings.cord_times = cord_times_of(new)
        places.settings.ageing = new.jobs.ageing
        places.janitor.retention_seconds = new.outputs.retention
        places.outputs.limits = places.settings.output_limits = output_limits_of(new)
        places.allow_uploads(new.uploads.parallel)
        old = places.current.policy
        # The range of ports is the one of the start, whatever the file says now.
        as_started = new.model_copy(update={"ports": self._config.ports})
        fresh = policy_of(as_started, old.agent_id, old.dns, old.nofile, old.node_cpus)
        places.current.policy = replace(
            old, limits=fresh.limits, images=fresh.images, outgoing=fresh.outgoing
        )
        self._config = as_started
        places.ask_grant()  # what waited for a queue's place may have one now
