"""Random seeds: every use derives its own seed from the run's seed."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Hash the parts into one seed. The same parts give the same seed on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "little")
