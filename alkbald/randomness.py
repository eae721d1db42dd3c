"""Every random stream of a run is derived from (seed, round, purpose), never from a global one.

So a run can stop after any round and resume to the same bits, and trials of different methods with one seed share
whatever does not depend on the method.
"""

import hashlib

from torch import Generator


def derived_seed(*key: object) -> int:
    """A 63-bit seed for a stream named by `key`, e.g. (seed, round, "weights"). Different keys: independent streams."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def derived_generator(*key: object) -> Generator:
    """A CPU generator of the stream named by `key`; CPU, so that every device draws the same numbers."""
    return Generator().manual_seed(derived_seed(*key))
