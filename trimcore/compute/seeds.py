"""Where random numbers come from: every use has a seed of its own, derived from the run's."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """One seed of several parts: the same parts give the same seed on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "little")
