"""adapters/firewall — nftables: rules put, read back and taken away by the program nft, changes heard from the kernel. Decides no rule."""

from agent.adapters.firewall.news import RuleNews
from agent.adapters.firewall.nft import Nft

__all__ = ["Nft", "RuleNews"]
