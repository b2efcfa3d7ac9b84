"""Which cord a request is for is said twice, since the SDK may import nothing of the agent: both say the same."""

from hypothesis import given
from hypothesis import strategies as st

from agent.spec import CordMatch, OtherMethods, match_cord
from agent.spec.manifest import CordFunction
from chutes.chute.cord import Cord
from chutes.testing.routes import Found, find

METHODS = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
PLACES = st.sampled_from(["a", "b", "{x}", "{y}"])
DECLARED = st.lists(PLACES, max_size=3, unique=True).map(lambda parts: "/" + "/".join(parts))
CORDS = st.lists(st.tuples(METHODS, DECLARED), min_size=1, max_size=6)
TEXTS = st.sampled_from(["a", "b", "%61", "%62", "a%2Fb", "%C3%A9", "{x}", " ", "", "%", "%4", "%ff", "/"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[tuple[str, str]], str, str]:
    """For a cord that there is, or nearly."""
    declared = draw(CORDS)
    path = draw(st.sampled_from([path for _, path in declared]))
    parts = [
        draw(TEXTS) if part.startswith("{") or draw(st.integers(0, 3)) == 0 else part
        for part in path.split("/")[1:]
    ]
    return declared, draw(METHODS), draw(st.sampled_from(["/", "/", "/", "", "//"])) + "/".join(parts)


def both(declared: list[tuple[str, str]], method: str, path: str) -> tuple[object, object]:
    """The place among the cords and the parameters; else the methods that there are."""
    cords = [Cord(print, place, verb, {}) for verb, place in declared]
    functions = [CordFunction(function="f", public_api_path=place, method=verb) for verb, place in declared]
    here, there = find(cords, method, path), match_cord(functions, method, path)
    said_here: object = (
        (next(number for number, each in enumerate(cords) if each is here.cord), here.params)
        if isinstance(here, Found)
        else here.methods
    )
    match there:
        case CordMatch(index, _, params):
            return said_here, (index, params)
        case OtherMethods(allowed):
            return said_here, allowed
    return said_here, ()


@given(requests())
def test_a_test_finds_the_cord_that_a_host_finds(request: tuple[list[tuple[str, str]], str, str]) -> None:
    here, there = both(*request)
    assert here == there


@given(CORDS, METHODS, st.text())
def test_no_text_at_all_is_read_in_two_ways(declared: list[tuple[str, str]], method: str, path: str) -> None:
    here, there = both(declared, method, path)
    assert here == there
