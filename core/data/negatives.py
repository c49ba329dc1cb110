"""Frozen uniform negatives: one item for each positive, among those its user never interacts with."""

import numpy as np
from numpy.typing import NDArray

from core.contracts import FIRST_ID
from core.errors import UsageError

Ints = NDArray[np.int64]


def uniform(user: Ints, item: Ints, items: int, seed: int) -> Ints:
    """One negative for each row, exactly uniform, without rejection.

    Args:
        user: sorted ids.
        item: the positives; ids from FIRST_ID to FIRST_ID + items - 1.
        items: size of the catalogue.

    Raises:
        UsageError: if a user has taken every item.
    """
    known = np.unique(np.stack([user, item - FIRST_ID]), axis=1)
    users, start, taken = np.unique(known[0], return_index=True, return_counts=True)
    if (taken == items).any():
        raise UsageError(f"user row {users[taken == items][0]} has every item of the catalogue: no negative is left")
    place = np.searchsorted(users, user)
    rank = np.random.default_rng([seed, 1]).integers(0, items - taken[place])
    # The rank-th free item is rank plus the number of taken items before it: those with (item - own rank) <= rank.
    free_before = known[1] - (np.arange(known.shape[1]) - np.repeat(start, taken))
    keys = np.repeat(np.arange(len(users)), taken) * (items + 1) + free_before
    skipped = np.searchsorted(keys, place * (items + 1) + rank, side="right") - start[place]
    return rank + skipped + FIRST_ID
