"""jobs/current — what the operator may change while the daemon runs, in one place that all read anew. Changes nothing itself."""

from dataclasses import dataclass

from agent.core.policy import Policy


@dataclass(slots=True, eq=False)
class Current:
    """`policy` is replaced, whole, when the config was read again: nobody keeps a copy."""

    policy: Policy
