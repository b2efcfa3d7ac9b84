"""config — one file and the environment in, one validated `Config` (or every fault of it) out. Opens nothing that a key names."""

from agent.config.keys import Config
from agent.config.load import ConfigError, load_config
from agent.config.show import Changes, changed_keys, show_config
from agent.config.sources import ConfigFault
from agent.config.values import ListenAddress, PortRange

__all__ = [
    "Changes",
    "Config",
    "ConfigError",
    "ConfigFault",
    "ListenAddress",
    "PortRange",
    "changed_keys",
    "load_config",
    "show_config",
]
