"""Seeds derived from (seed, purpose): every random consumer has its own stream and none needs stored state."""

import hashlib
import json
from operator import index

SEED_LIMIT = 2**31


def derive_seed(seed: int, purpose: str, *keys: int | str) -> int:
    """Derive the seed of one random consumer, the same on every machine and Python version.

    Different seeds, purposes or keys give unrelated results (BLAKE2b over their JSON text; ``1`` and ``"1"`` differ).

    :param seed: the seed of the run; any integer
    :param purpose: who draws, for instance ``"policy"`` or ``"env"``
    :param keys: which of several, for instance the number of an env or of an episode
    :return: an integer in [0, 2**31)
    """
    parts = [index(seed), purpose, *(key if isinstance(key, str) else index(key) for key in keys)]
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % SEED_LIMIT
