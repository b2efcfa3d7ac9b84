"""The same call of the same job gets the same child; any other call gets another."""

from itertools import combinations

from agent.core.children import child_id, keyed_child_id

PARENT, OTHER = "11111111-0000-7000-8000-000000000001", "11111111-0000-7000-8000-000000000002"


def test_a_childs_id_follows_from_its_parent_its_name_its_payload_and_its_count() -> None:
    made = [
        child_id(PARENT, "a", b"{}", 0),
        child_id(OTHER, "a", b"{}", 0),
        child_id(PARENT, "b", b"{}", 0),
        child_id(PARENT, "a", b'{"a":1}', 0),
        child_id(PARENT, "a", b"{}", 1),
        keyed_child_id(PARENT, "a", "k"),
        keyed_child_id(PARENT, "a", "l"),
        keyed_child_id(PARENT, "b", "k"),
    ]
    assert all(one != other for one, other in combinations(made, 2))
    assert child_id(PARENT, "a", b"{}", 0) == made[0]


def test_an_id_stays_the_same_from_release_to_release() -> None:
    assert child_id(PARENT, "train", b'{"epochs":3}', 0) == "253216ad-460f-5f5b-82a0-eb05520073fc"
    assert keyed_child_id(PARENT, "train", "first") == "d5801357-f590-51cb-a988-7b56de65b542"
