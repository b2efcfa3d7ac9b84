"""core/host_key — an Ed25519 host key out of 32 random bytes, in the form that dropbear reads. Pure: draws nothing, writes nothing.

Only the making of a key is in here (RFC 8032, §5.1.5), which happens once a job and before anybody can time it: no signature is
made or checked. A program for it would have to be run on the host for each job that is sent.
"""

import base64
import hashlib
from dataclasses import dataclass, field

from agent.spec import PublicKey

TYPE = "ssh-ed25519"
SEED_BYTES = 32

# The curve's field, and d of its equation.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
# The base point (RFC 8032, §5.1), in extended coordinates: x, y, z, x·y/z.
_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960
_Point = tuple[int, int, int, int]
_BASE: _Point = (_X, _Y, 1, _X * _Y % _P)
_NEUTRAL: _Point = (0, 1, 1, 0)


@dataclass(frozen=True, slots=True)
class HostKey:
    """`private` is the whole file for the server."""

    private: bytes = field(repr=False)
    public: PublicKey


def make_host_key(seed: bytes) -> HostKey:
    """The one key of this seed. Raises ValueError where it has not 32 bytes."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    point = public_point(seed)
    blob = _string(TYPE.encode()) + _string(point)
    private = _string(TYPE.encode()) + _string(seed + point)
    return HostKey(private, PublicKey(TYPE, base64.b64encode(blob).decode(), ""))


def public_point(seed: bytes) -> bytes:
    """The public key of RFC 8032."""
    low = bytearray(hashlib.sha512(seed).digest()[:32])
    low[0] &= 0xF8
    low[31] = low[31] & 0x7F | 0x40
    x, y, z, _ = _times(int.from_bytes(low, "little"), _BASE)
    inverse = pow(z, -1, _P)
    sign = x * inverse % _P & 1
    return (y * inverse % _P | sign << 255).to_bytes(32, "little")


def _times(factor: int, point: _Point) -> _Point:
    product = _NEUTRAL
    while factor:
        if factor & 1:
            product = _sum(product, point)
        point = _sum(point, point)
        factor >>= 1
    return product


def _sum(one: _Point, other: _Point) -> _Point:
    """RFC 8032, §5.1.4; complete: also for equal points and the neutral one."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * t1 * t2 * _D % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _string(data: bytes) -> bytes:
    """As SSH writes one: its length in four bytes, then itself (RFC 4251, §5)."""
    return len(data).to_bytes(4) + data
