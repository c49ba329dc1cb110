"""The protocol of METHOD.md section 2 as relational expressions: who comes first, what is held out, which negatives.

Written once in Ibis and run by DuckDB or Spark (`core.data.engines`). What is random comes from MD5 of (seed, raw ids,
time), so every engine, order and number of machines draws the same. Tables, by their columns:

events      user, item (raw ids), timestamp, rating, index (place in the source)
users       raw_id, user                        items   raw_id, item, sale (0-based place by first appearance)
calendar    day, open (how many items had appeared on strictly earlier days), span (power of two that holds them)
sequences   number (place by user and position), user, item, position, timestamp, day, rating, key, split
requests    number, block, user, key, among, span: draw a negative among the first `among` items on sale
"""

# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false, reportReturnType=false
# (Ibis knows the types of columns when it runs, not before)
from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import numpy as np
from ibis.expr.types import IntegerValue, StringValue, Table

from core.contracts import DAY, ON_SALE, SPLITS

HELD_OUT = 3  # a user needs so many interactions to give a validation and a test row
GLOBAL_TIME_CUTS = (0.8, 0.9)  # of the interactions, moved to the next start of a day
_DIGITS = 6  # hexadecimal ones that fit a 32-bit integer with room to multiply
ROUNDS = 3  # in which a request tries places for its negative
_PROBE_DIGITS = 7  # of a place: catalogues of up to 268 million items
_PROBES = 32 // _PROBE_DIGITS  # places a round: what one digest holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What decides about rows.

    Args:
        end: Unix seconds; only what happened before counts. None for everything.
        draws: negatives a training positive has; an epoch uses one of them.
    """

    order: str
    seed: int
    end: int | None = None
    draws: int = 1


def events(raw: Table, end: int | None) -> Table:
    """What happened before `end`, each (user, item, timestamp) once: the first of its lines."""
    kept = raw if end is None else raw.filter(raw.timestamp < end)
    return _first_of(kept, ["user", "item", "timestamp"], ["index"])


def appearances(happened: Table, name: str) -> Table:
    """`raw_id` and `timestamp` of the first event of every user or item, the earliest first."""
    first = _first_of(happened, [name], ["timestamp", "index"]).order_by("timestamp", "index")
    return first.select(raw_id=first[name], timestamp=first.timestamp)


def sequences(happened: Table, users: Table, items: Table, protocol: Protocol) -> Table:
    """Events in their users' order, without `split`.

    Events of one user with equal timestamps come in a seeded order, under `published` in the source's.
    """
    key = happened.user + "/" + happened.item + "/" + happened.timestamp.cast("string")
    tie = happened.index if protocol.order == "published" else _salted(key, protocol.seed, "tie").hexdigest("md5")
    keyed = happened.mutate(key=key, tie=tie, day=happened.timestamp // DAY)
    keyed = keyed.rename(raw_user="user", raw_item="item")
    keyed = keyed.join(users, keyed.raw_user == users.raw_id).drop("raw_id")
    keyed = keyed.join(items.select("raw_id", "item"), keyed.raw_item == items.raw_id).drop("raw_id")
    placed = keyed.mutate(
        position=ibis.row_number().over(ibis.window(group_by="user", order_by=["timestamp", "tie"])),
        length=keyed.count().over(ibis.window(group_by="user")),
    )
    counts = placed.group_by("user").agg(taken=placed.count())
    before = counts.taken.sum().over(ibis.window(order_by=counts.user, rows=(None, 0))) - counts.taken
    starts = counts.select("user", start=before)
    numbered = placed.join(starts, "user")
    names = ["user", "item", "position", "timestamp", "day", "rating", "key", "length"]
    return numbered.select(*names, number=(numbered.start + numbered.position).cast("int64"))


def with_splits(placed: Table, cuts: Sequence[int] | None) -> Table:
    """Leave-one-out, or by date where `cuts` gives the first day of validation and of test."""
    train, valid, test = SPLITS
    if cuts is None:
        from_end = placed.length - 1 - placed.position
        held_out = ibis.cases((from_end == 0, test), (from_end == 1, valid), else_=train)
        split = ibis.ifelse(placed.length < HELD_OUT, train, held_out)
    else:
        split = ibis.cases((placed.day >= cuts[1], test), (placed.day >= cuts[0], valid), else_=train)
    return placed.mutate(split=split).drop("length")


def date_cuts(day: np.ndarray, count: np.ndarray) -> list[int]:
    """The first days of validation and test, given the interactions of each day: whole days go to one split."""
    until = np.cumsum(count)
    return [int(day[np.searchsorted(until, int(until[-1] * share), side="right")]) for share in GLOBAL_TIME_CUTS]


def requests(placed: Table, calendar: Table, catalogue: int, protocol: Protocol) -> Table:
    """One for each interaction, one for each further draw of a training row, one among what was on sale at test."""
    blocks = [placed.mutate(block=_whole(0))]
    training = placed.filter(placed.split == SPLITS[0])
    blocks += [training.mutate(block=_whole(draw)) for draw in range(1, protocol.draws)]
    test = placed.filter(placed.split == SPLITS[2]).mutate(block=_whole(protocol.draws))
    limited = [block.mutate(among=_whole(catalogue), span=_whole(span(catalogue))) for block in blocks]
    limited.append(test.join(calendar, "day").rename(among="open"))
    return ibis.union(*(block.select("number", "block", "user", "key", "among", "span") for block in limited))


def span(count: int) -> int:
    """The smallest power of two that is no less than `count`."""
    return 1 << max(count - 1, 0).bit_length()


def probed(asked: Table, placed: Table, items: Table, seed: int, turn: int) -> Table:
    """`number`, `block` and `item`: for most requests an item that its user never takes, uniform.

    Once drawn, a negative should stay when the data grows, since texts and examples rest on it. So a request tries a
    few places below `span`, in ROUNDS turns, and takes the first that is on sale and free: a catalogue that grows from
    n to n + k items changes about k of n + k negatives, and what a user takes later changes none but its own.
    """
    digest = _salted(asked.key, seed, "negative") + "/" + asked.block.cast("string") + f"/{turn}"
    keyed = asked.mutate(digest=digest.hexdigest("md5"))
    tries = []
    for probe in range(_PROBES):
        drawn = _digits(keyed.digest, probe * _PROBE_DIGITS, _PROBE_DIGITS).cast("int64")
        tried = keyed.select("number", "block", "user", "among", sale=drawn % keyed.span, probe=_whole(probe))
        tries.append(tried.filter(tried.sale < tried.among).drop("among"))
    found = ibis.union(*tries).join(items.select("item", "sale"), "sale")
    free = found.anti_join(placed.select("user", "item").distinct(), ["user", "item"])
    return _first_of(free, ["number", "block"], ["probe"]).select("number", "block", "item")


def counted_off(asked: Table, placed: Table, items: Table, seed: int) -> Table:
    """The same for the few requests whose tries all failed: users who have much of a small catalogue.

    It draws a place among the user's free items, without rejection. A user's n-th free item (from 0) is the n-th item
    on sale plus the number of taken items before it, which are those with (place on sale - own rank) <= n. Requests
    that leave nothing to draw from are left out.
    """
    pairs = placed.select("user", "item").distinct()
    taken = pairs.join(items.select("item", "sale"), "item").select("user", "sale")
    taken = taken.mutate(own=ibis.row_number().over(ibis.window(group_by="user", order_by="sale")))
    taken = taken.mutate(free=taken.sale - taken.own)
    asked = _count_before(asked, taken, at="among", places="sale", inclusive=False)
    asked = asked.mutate(free=asked.among - asked.below).drop("below")
    asked = asked.filter(asked.free > 0)
    salted = _salted(asked.key, seed, "negative") + "/" + asked.block.cast("string")
    asked = asked.mutate(rank=_number(salted.hexdigest("md5")) % asked.free)
    drawn = _count_before(asked, taken, at="rank", places="free", inclusive=True)
    drawn = drawn.mutate(sale=drawn["rank"] + drawn.below)
    return drawn.join(items.select("item", "sale"), "sale").select("number", "block", "item")


def rows(placed: Table, drawn: Table, interactions: int, protocol: Protocol) -> Table:
    """Positive of interaction i at row 2i, its negative at 2i + 1; the same in later blocks of 2 * interactions."""
    facts = placed.select("number", "user", "position", "timestamp", "day", "split")
    negative = drawn.join(facts, "number").mutate(label=_whole(0))
    positive = placed.select(*facts.columns, "item").mutate(label=_whole(1), block=_whole(0))
    names = [*facts.columns, "item", "label", "block"]
    pairs = negative.filter(negative.block == protocol.draws).select("number", pair=negative.block)
    repeated = positive.drop("block").join(pairs, "number").rename(block="pair")
    every = ibis.union(negative.select(names), positive.select(names), repeated.select(names))
    on_sale = every.block == protocol.draws
    return every.mutate(
        row=2 * (every.number + interactions * every.block) + (1 - every.label),
        split=ibis.ifelse(on_sale, ON_SALE, every.split),
        draw=ibis.ifelse(on_sale, 0, every.block),
    ).order_by("row")


def _first_of(table: Table, group: Sequence[str], order: Sequence[str]) -> Table:
    numbered = table.mutate(nth=ibis.row_number().over(ibis.window(group_by=list(group), order_by=list(order))))
    return numbered.filter(numbered.nth == 0).drop("nth")


def _count_before(asked: Table, taken: Table, *, at: str, places: str, inclusive: bool) -> Table:
    """`asked` with `below`: how many of its user's `places` are less than (or equal to) its `at`.

    One running count over both tables in one order, which needs no pair of rows and no lookup.
    """
    point = {"place": asked[at].cast("int64"), "mark": _whole(0), "late": _whole(int(inclusive))}
    blank = {name: ibis.null(asked[name].type()) for name in asked.columns if name != "user"}
    marks = taken.select(
        user=taken.user, **blank, place=taken[places].cast("int64"), mark=_whole(1), late=_whole(1 - int(inclusive))
    )
    line = asked.select("user", *blank, **point).union(marks)
    order = ibis.window(group_by="user", order_by=["place", "late"], rows=(None, 0))
    counted = line.mutate(below=line.mark.sum().over(order).cast("int64"))
    return counted.filter(counted.mark == 0).drop("place", "mark", "late")


def _salted(key: StringValue, seed: int, purpose: str) -> StringValue:
    return ibis.literal(f"{seed}/{purpose}/") + key


def _whole(value: int) -> IntegerValue:
    """A literal of one type: Ibis gives each literal the smallest, and Spark 32 bits whatever Ibis says."""
    return ibis.literal(value, "int32").cast("int64")


def _number(digest: StringValue) -> IntegerValue:
    """48 bits of a hexadecimal digest. Through text, because Spark computes in 32 bits what Ibis holds to be 64."""
    high, low = (_digits(digest, start, _DIGITS).cast("string").cast("int64") for start in (0, _DIGITS))
    return high * ibis.literal(16**_DIGITS, "int64") + low


def _digits(digest: StringValue, start: int, count: int) -> IntegerValue:
    value = ibis.literal(0)
    for place in range(start, start + count):
        value = value * 16 + ibis.literal("0123456789abcdef").find(digest.substr(place, 1))
    return value
