"""Checks of the leak rule on prepared tables. Each returns the numbers of the rows that break it.

They look at what is stored, not at the code that made it, and read nothing but the interactions to judge it.
Suffixes: R rows, L history length, K examples.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.contracts import HISTORY, ON_SALE, PAD

Rows = NDArray[np.int64]


def history_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Rows whose history is not the user's last items before the row's position, oldest first, PAD on the left."""
    item = _integers(interactions, "item")
    position = _integers(rows, "position")
    start = np.searchsorted(_integers(interactions, "user"), _integers(rows, "user"))
    back = np.arange(HISTORY, 0, -1)
    places_RL = np.minimum(np.maximum((start + position)[:, None] - back, 0), len(item) - 1)
    expected_RL = np.where(back <= position[:, None], item[places_RL], PAD)
    stated = rows["history"].combine_chunks()
    if stated.null_count or not (stated.value_lengths().to_numpy() == HISTORY).all():
        return _integers(rows, "row")
    return _integers(rows, "row")[(_matrix(stated) != expected_RL).any(axis=1)]


def held_out_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Rows whose history holds a validation or test item of their user that was taken at this position or later."""
    positives = rows.filter(pa.array((_integers(rows, "label") == 1) & (rows["split"].to_numpy() != ON_SALE)))
    held = positives.filter(pa.array(np.isin(positives["split"].to_numpy(), ["valid", "test"])))
    width = int(max(_integers(table, "item").max() for table in (rows, interactions))) + 1
    key = _integers(interactions, "user") * width + _integers(interactions, "item")
    first_of = dict(zip(key[::-1].tolist(), _integers(interactions, "position")[::-1].tolist(), strict=True))
    watched = np.unique(_integers(held, "user") * width + _integers(held, "item"))
    taken_at = np.array([first_of.get(one, -1) for one in watched.tolist()])
    keys_RL = _integers(rows, "user")[:, None] * width + _matrix(rows["history"].combine_chunks())
    place = np.minimum(np.searchsorted(watched, keys_RL), len(watched) - 1)
    too_early_RL = (watched[place] == keys_RL) & (taken_at[place] >= _integers(rows, "position")[:, None])
    return _integers(rows, "row")[too_early_RL.any(axis=1)]


def popularity_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Rows whose popularity is not the count of the item's interactions on strictly earlier days."""
    span = 1 << 32
    events = np.sort(_integers(interactions, "item") * span + _integers(interactions, "day"))
    item, day = _integers(rows, "item"), _integers(rows, "day")
    counts = np.searchsorted(events, item * span + day) - np.searchsorted(events, item * span - span // 2)
    stated = np.expm1(rows["popularity"].to_numpy())
    return _integers(rows, "row")[~np.isclose(stated, counts, rtol=1e-4, atol=1e-3)]


def comment_violations(comments: pa.Table, interactions: pa.Table) -> Rows:
    """Places of comments that belong to no interaction of their user, or say another day than it has."""
    user, position, day = (_integers(interactions, name) for name in ("user", "position", "day"))
    of_user, at, of_day = (_integers(comments, name) for name in ("user", "position", "day"))
    place = np.minimum(np.searchsorted(user, of_user) + at, len(user) - 1)
    return np.flatnonzero((user[place] != of_user) | (position[place] != at) | (day[place] != of_day))


def negative_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Negatives that their user has taken at some time."""
    width = 1 + int(max(_integers(table, "item").max() for table in (rows, interactions)))
    pair, taken = (_integers(table, "user") * width + _integers(table, "item") for table in (rows, interactions))
    return _integers(rows, "row")[(_integers(rows, "label") == 0) & np.isin(pair, taken)]


def on_sale_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Negatives of the second test set that nobody had taken before the row's day."""
    item = _integers(interactions, "item")
    first = np.full(int(max(item.max(), _integers(rows, "item").max())) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, item, _integers(interactions, "day"))
    late = first[_integers(rows, "item")] >= _integers(rows, "day")
    second = (rows["split"].to_numpy() == ON_SALE) & (_integers(rows, "label") == 0)
    return _integers(rows, "row")[second & late]


def split_violations(rows: pa.Table, order: str) -> Rows:
    """Training rows that come after a held-out row of their user, or under `global-time` of anybody."""
    code = np.select([rows["split"].to_numpy() == name for name in ("train", "valid")], [0, 1], 2)
    moment = _integers(rows, "day") if order == "global-time" else _integers(rows, "position")
    group = np.zeros(len(rows), dtype=np.int64) if order == "global-time" else _integers(rows, "user")
    wrong = np.zeros(len(rows), dtype=bool)
    for later in (1, 2):
        earliest = np.full(int(group.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(earliest, group[code == later], moment[code == later])
        wrong |= (code < later) & (moment >= earliest[group])
    return _integers(rows, "row")[wrong]


def example_violations(rows: pa.Table, examples_RK: Rows, example_rows: Rows) -> Rows:
    """Rows that are shown an example of their own day or a later one, themselves, their pair, or their position.

    Args:
        examples_RK: for each row 1-based numbers of examples, 0 for none.
        example_rows: the row number of each example, the first being number 1.
    """
    number, user, position, day = (_integers(rows, name) for name in ("row", "user", "position", "day"))
    place_RK = np.searchsorted(number, np.append(-1, example_rows)[examples_RK])
    place_RK = np.minimum(place_RK, len(number) - 1)
    same_moment = (user[place_RK] == user[:, None]) & (position[place_RK] == position[:, None])
    wrong_RK = (examples_RK > 0) & ((day[place_RK] >= day[:, None]) | same_moment)
    return number[wrong_RK.any(axis=1)]


def example_set_violations(rows: pa.Table, example_rows: Rows) -> Rows:
    """Examples that are no training rows: their label would be told before the test."""
    training = _integers(rows, "row")[rows["split"].to_numpy() == "train"]
    return example_rows[~np.isin(example_rows, training)]


def score_violations(rows: pa.Table, scores: pa.Table, trained: pa.Table) -> Rows:
    """Rows whose score came from a model that was trained on them, on their pair or on their position.

    Args:
        scores: `row` and the `model` that scored it.
        trained: `row` and `model`: which rows trained which model.
    """
    moments = pa.table({"row": rows["row"], "user": rows["user"], "position": rows["position"]})
    used = trained.join(moments, "row").select(["model", "user", "position"])
    asked = scores.join(moments, "row").select(["row", "model", "user", "position"])
    return np.sort(_integers(asked.join(used, ["model", "user", "position"], join_type="left semi"), "row"))


def later_score_violations(rows: pa.Table, scores: pa.Table, trained: pa.Table) -> Rows:
    """Rows whose score came from a model that was trained on a row of their day or of a later one.

    Args:
        scores: `row` and the `model` that scored it.
        trained: `row` and `model`: which rows trained which model.
    """
    day = rows.select(["row", "day"])
    last = trained.join(day, "row").group_by("model").aggregate([("day", "max")])
    asked = scores.select(["row", "model"]).join(day, "row").join(last, "model", join_type="inner")
    return np.sort(_integers(asked, "row")[_integers(asked, "day") <= _integers(asked, "day_max")])


def _integers(table: pa.Table, name: str) -> Rows:
    return table[name].to_numpy().astype(np.int64)


def _matrix(lists: pa.Array) -> Rows:
    return lists.flatten().to_numpy().reshape(len(lists), -1)
