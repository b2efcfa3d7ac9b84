"""spec/near — which of some names was meant by another, at a price that neither side can set. Knows none of the names."""

from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from heapq import nlargest
from itertools import islice

# To compare two texts takes up to the third power of their length, and strangers write both: so long ones are near nothing, and of
# many names only those are compared whose letters fit best, which takes no more than to read them.
MOST_CHARACTERS = 64
MOST_KNOWN, MOST_COMPARED = 256, 3


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, where one of the known names is near."""
    near = find_near(name, known)
    return f"; did you mean {near}?" if near else ""


def find_near(word: str, known: Iterable[str]) -> str | None:
    """None: none is near, or it is too long to be compared."""
    if len(word) > MOST_CHARACTERS:
        return None
    letters = Counter(word)
    short = (name for name in islice(known, MOST_KNOWN) if len(name) <= MOST_CHARACTERS)
    likely = nlargest(MOST_COMPARED, short, key=lambda name: _likeness(letters, name))
    return next(iter(get_close_matches(word, likely, n=1)), None)


def _likeness(letters: Counter[str], name: str) -> float:
    return (letters & Counter(name)).total() / (letters.total() + len(name) or 1)
