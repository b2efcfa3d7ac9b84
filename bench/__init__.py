"""bench — the figures that the agent promises, measured here. Each module prints its own; `python -m bench` prints all."""
