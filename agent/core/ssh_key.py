"""core/ssh_key — a public key that may log in to a job, who brought it, and until when. A value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key that may log in: one line of a .pub file that was checked. `by`: the principal who brought it."""

    line: str
    by: str
    expires_at: float | None = None
