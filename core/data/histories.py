"""What a user has taken so far: the dated states of the `user_history` view.

Suffixes: N interactions, sorted by user and position; S states; L history length; C categories an item; V items.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.contracts import CATEGORIES, HISTORY, PAD
from core.data import dated
from core.data.dated import Ints

Floats = NDArray[np.float32]
_BLOCK = 100_000  # interactions


@dataclass(frozen=True, slots=True)
class Attributes:
    """Brand (V,) and categories (V, C) of the items, by row of the vocabulary; PAD where there is none."""

    brand_V: Ints
    categories_VC: Ints

    @classmethod
    def of(cls, items: pa.Table) -> "Attributes":
        """From a table of `schemas.ITEMS`."""
        item = items["item"].to_numpy()
        brand_V = np.full(int(item.max()) + 1, PAD)
        brand_V[item] = items["brand_id"].to_numpy()
        column = items["category_ids"].combine_chunks()
        length = column.value_lengths().to_numpy()
        padded = np.full((len(item), CATEGORIES), PAD)
        padded[np.arange(CATEGORIES) < length[:, None]] = column.flatten().to_numpy()
        categories_VC = np.full((len(brand_V), CATEGORIES), PAD)
        categories_VC[item] = padded
        return cls(brand_V, categories_VC)

    def beside(self, item_N: Ints, brand_N: Ints, categories_NC: Ints) -> "Attributes":
        """With those of further items, by their rows."""
        missing = max(int(item_N.max(initial=0)) + 1 - len(self.brand_V), 0)
        brand_V = np.pad(self.brand_V, (0, missing), constant_values=PAD)
        categories_VC = np.pad(self.categories_VC, ((0, missing), (0, 0)), constant_values=PAD)
        brand_V[item_N], categories_VC[item_N] = brand_N, categories_NC
        return Attributes(brand_V, categories_VC)

    def known(self, items: Ints) -> Ints:
        """The items, PAD for those that came after these attributes."""
        return np.where(items < len(self.brand_V), items, PAD)


def user_states(user: Ints, item: Ints, day: Ints, popularity: Floats, attributes: Attributes) -> pa.Table:
    """A state before each interaction of each user, and one after the last: what a request sees next.

    Args:
        popularity: (N,), log1p of how often each item was taken before the day on which this user took it.
    """
    last = np.flatnonzero(np.diff(user, append=-1))  # the closing state follows its user's last interaction
    state_user, state_day = (np.insert(values, last + 1, values[last]) for values in (user, day))
    state_item, state_popularity = np.insert(item, last + 1, PAD), np.insert(popularity, last + 1, 0)
    position = np.arange(len(state_user)) - np.searchsorted(state_user, state_user)
    places_SL, inside_SL = _places(position)
    history_SL = np.where(inside_SL, state_item[places_SL], PAD)
    known_SL = attributes.known(history_SL)
    brands_SL, categories_SX = (
        attributes.brand_V[known_SL],
        attributes.categories_VC[known_SL].reshape(len(position), -1),
    )
    length_S = np.maximum(inside_SL.sum(axis=1), 1)
    return pa.table(
        {
            "user": state_user,
            "event_timestamp": dated.times(state_day, position * dated.POSITION_US),
            "history": dated.as_lists(history_SL),
            "history_days": dated.as_lists(np.where(inside_SL, state_day[places_SL], 0), pa.int32()),
            "history_brands": dated.as_lists(brands_SL, pa.int32()),
            "history_categories": dated.as_lists(categories_SX, pa.int32()),
            "activity": np.log1p(position).astype(np.float32),
            "taste_popularity": (np.where(inside_SL, state_popularity[places_SL], 0).sum(axis=1) / length_S).astype(
                np.float32
            ),
            "brand_affinity": (_most_frequent(brands_SL) / length_S).astype(np.float32),
            "category_affinity": (_most_frequent(categories_SX) / length_S).astype(np.float32),
        }
    )


def state_blocks(
    user: Ints, item: Ints, day: Ints, popularity: Floats, attributes: Attributes, block: int = _BLOCK
) -> Iterator[pa.Table]:
    """`user_states` in tables of whole users, each of about `block` interactions.

    A state's histories are hundreds of numbers while they are computed: of all users at once they would take 4 KB an
    interaction.
    """
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    start = 0
    while start < len(user):
        after = np.searchsorted(starts, start + block)
        stop = int(starts[after]) if after < len(starts) else len(user)
        one = slice(start, stop)
        yield user_states(user[one], item[one], day[one], popularity[one], attributes)
        start = stop


def _places(position: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Indices of the HISTORY interactions before each, (N, L), and which of them belong to the same user."""
    places = np.arange(len(position))[:, None] + np.arange(-HISTORY, 0)
    inside = places >= (np.arange(len(position)) - position)[:, None]
    return np.maximum(places, 0), inside


def _most_frequent(ids_SX: Ints) -> Ints:
    """How often the most frequent id of each row occurs in it, PAD aside: (S,)."""
    span = int(ids_SX.max(initial=0)) + 1
    keys = np.sort(np.arange(len(ids_SX))[:, None] * span + ids_SX, axis=1)  # rows are short: sorting each is fast
    flat = keys.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=-1))
    counts = np.diff(starts, append=len(flat))
    counts[flat[starts] % span == PAD] = 0
    return np.maximum.reduceat(counts, np.searchsorted(flat[starts], np.arange(len(ids_SX)) * span))
