"""daemon/reload — SIGHUP: the config is read again, what can change while running changes, the rest is named."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from agent import log as logging
from agent.aio import Flag
from agent.config import Config, ConfigError, changed_keys
from agent.daemon.values import policy_of, queue_limits_of
from agent.jobs.assembly import Settings
from agent.jobs.intake import Intake

log = structlog.get_logger()


class Reload:
    """Standing task `watch`; `ask` is for the signal's handler."""

    def __init__(
        self, config: Config, read_config: Callable[[], Config] | None, settings: Settings, intake: Intake
    ) -> None:
        self._config = config
        self._read_config = read_config
        self._settings = settings
        self._intake = intake
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
        self._settings.queue_limits = queue_limits_of(new)
        self._settings.ageing = new.jobs.ageing
        old = self._intake.policy
        fresh = policy_of(new, old.agent_id, old.dns, old.nofile)
        self._intake.policy = replace(old, limits=fresh.limits, images=fresh.images)
        self._config = new
