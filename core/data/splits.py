"""Who comes first, and what is held out (METHOD.md section 2). Every function is vectorised over all interactions."""

import numpy as np
from numpy.typing import NDArray

from core.contracts import SPLITS
from core.errors import UsageError

DAY = 86_400  # seconds
HELD_OUT = 3  # a user needs so many interactions to give a validation and a test row
GLOBAL_TIME_CUTS = (0.8, 0.9)  # of the interactions, moved to the next start of a day

Ints = NDArray[np.int64]


def sequence_order(user: Ints, timestamp: Ints, order: str, seed: int) -> Ints:
    """Indices that sort interactions by (user, time).

    Interactions of one user with equal timestamps keep the source's order, or under `shuffled-ties` a seeded one.
    """
    tie = np.arange(len(user))
    if order == "shuffled-ties":
        tie = np.random.default_rng([seed, 0]).permutation(len(user))
    return np.lexsort((tie, timestamp, user))


def positions(user: Ints) -> Ints:
    """0-based place of each interaction in its user's sequence; `user` is sorted."""
    return np.arange(len(user)) - np.searchsorted(user, user)


def split_codes(user: Ints, day: Ints, order: str) -> Ints:
    """An index into `contracts.SPLITS` for each interaction; sorted by user and time.

    Raises:
        UsageError: if validation or test would be empty.
    """
    codes = _by_date(day) if order == "global-time" else _leave_one_out(user)
    for code in (1, 2):
        if not (codes == code).any():
            raise UsageError(f"too few interactions for a {SPLITS[code]} split; take more data or a later --as-of")
    return codes


def _leave_one_out(user: Ints) -> Ints:
    """The last interaction of a user is test, the one before it validation; short sequences train only."""
    length = np.searchsorted(user, user, side="right") - np.searchsorted(user, user)
    from_end = length - 1 - positions(user)
    return np.where(length < HELD_OUT, 0, np.maximum(2 - from_end, 0))


def _by_date(day: Ints) -> Ints:
    """Whole days go to one split, so that no validation row shares a day with a training row."""
    ordered = np.sort(day)
    cuts = [ordered[int(len(day) * share)] for share in GLOBAL_TIME_CUTS]
    return np.searchsorted(cuts, day, side="right")
