"""How much is tried of a property that wants more than the usual: as much less in the fast loop as of all others."""

from hypothesis import settings

USUAL = 100


def tries(count: int) -> int:
    """`count` in `make test`, a share of it under a profile that tries less."""
    return max(1, count * settings.default.max_examples // USUAL)
