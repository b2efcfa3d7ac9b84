"""chutes/chute — the Chute and what its machine must have. Its parts lie in the modules beside."""

from chutes.chute.chute import Chute
from chutes.chute.node_selector import NodeSelector

__all__ = ["Chute", "NodeSelector"]
