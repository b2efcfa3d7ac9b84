"""cli/show/meters — a share as a bar, in characters. Pure."""

from rich.text import Text

FULL, EMPTY = "█", "░"
# Eighths of a character.
PARTS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def meter(share: float | None, width: int, style: str = "cyan") -> Text:
    """`share` from 0 to 1, more is full; None, which is not known, is a bar of blanks."""
    if share is None:
        return Text(" " * width)
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    filled = FULL * whole + PARTS[rest]
    return Text.assemble((filled, style), (EMPTY * (width - len(filled)), "dim"))
