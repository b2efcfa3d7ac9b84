"""Host keys: by the vectors of RFC 8032, and in the bytes that dropbear reads."""

import base64

import pytest

from agent.core.host_key import make_host_key, public_point
from agent.spec import read_public_key

# RFC 8032, §7.1: TEST 1, 2, 3, TEST 1024 and TEST SHA(abc).
VECTORS = {
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb": "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7": "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5": "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42": "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
}


@pytest.mark.parametrize(("seed", "point"), VECTORS.items())
def test_the_public_half_is_the_standards(seed: str, point: str) -> None:
    assert public_point(bytes.fromhex(seed)).hex() == point


def test_a_host_key_is_written_as_dropbear_writes_one() -> None:
    seed = bytes(range(32))
    key = make_host_key(seed)
    kind = b"\0\0\0\x0bssh-ed25519"
    assert key.private == kind + b"\0\0\0\x40" + seed + public_point(seed)
    assert base64.b64decode(key.public.base64) == kind + b"\0\0\0\x20" + public_point(seed)
    assert read_public_key(key.public.line) == key.public


def test_its_private_half_is_in_no_repr() -> None:
    key = make_host_key(b"\x5a" * 32)
    assert "ZZZZ" not in repr(key)
    assert repr(b"\x5a" * 4)[2:-1] not in repr(key)


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        make_host_key(bytes(31))
