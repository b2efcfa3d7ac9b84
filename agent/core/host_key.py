"""core/host_key — a job's host key as a value. Makes none: that is the SSH kit's own program's to do."""

from dataclasses import dataclass, field

from agent.spec import PublicKey


@dataclass(frozen=True, slots=True)
class HostKey:
    """`private` is the whole file for the server; `public` has no comment."""

    private: bytes = field(repr=False)
    public: PublicKey
