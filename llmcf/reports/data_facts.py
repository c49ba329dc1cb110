"""What a data quality report says of a prepared workspace, counted from its tables."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from core.contracts import ON_SALE, SPLITS
from core.data import tables, texts
from core.settings import Workspace

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Counts, shares (0 to 1) and distributions.

    `months` are interactions by month; `late` the share of negatives, by split, whose item nobody had taken before the
    row's day; `item_counts` interactions of the items that have any, most taken first; `untaken` counts items that
    are offered and have none.
    """

    users: int
    items: int
    interactions: int
    rows: dict[str, int]
    of_user: dict[float, float]
    of_item: dict[float, float]
    missing: dict[str, float]
    same_day: float
    same_day_test: float
    late: dict[str, float]
    popular: list[tuple[str, str, int]]
    untaken: int
    item_counts: np.ndarray
    user_counts: np.ndarray
    months: pl.DataFrame

    @property
    def density(self) -> float:
        return self.interactions / (self.users * self.items)

    @property
    def top_fifth(self) -> float:
        """Share of the interactions that the most popular fifth of the items has."""
        head = max(1, len(self.item_counts) // 5)
        return float(self.item_counts[:head].sum() / self.item_counts.sum())


def facts(ws: Workspace) -> Facts:
    """Count everything; reads the prepared tables once."""
    events, items, rows = (_frame(table) for table in (tables.interactions(ws), tables.items(ws), tables.rows(ws)))
    taken = events.group_by("item").len().sort("len", "item", descending=[True, False])
    taken = taken.join(items, on="item", how="left", maintain_order="left")
    user_counts = events.group_by("user").len()["len"].to_numpy()
    on_sale = items.filter(pl.col("item").is_in(taken["item"].implode()))
    return Facts(
        users=len(user_counts),
        items=len(taken),
        interactions=len(events),
        rows={split: rows.filter(pl.col("split") == split).height for split in (*SPLITS, ON_SALE)},
        of_user=_quantiles(user_counts),
        of_item=_quantiles(taken["len"].to_numpy()),
        missing=_missing(on_sale),
        same_day=_same_day(events),
        same_day_test=_same_day_test(rows),
        late=_late(events, rows),
        popular=[
            (texts.name(row["title"], row["raw_id"]), row["brand"], row["len"]) for row in taken.head(TOP).to_dicts()
        ],
        untaken=int(items["offered"].sum()) - len(taken),
        item_counts=taken["len"].to_numpy(),
        user_counts=user_counts,
        months=events.group_by(month=_date("day").dt.truncate("1mo")).len().sort("month"),
    )


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _date(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Date)


def _quantiles(counts: np.ndarray) -> dict[float, float]:
    return {level: float(np.quantile(counts, level)) for level in QUANTILES}


def _missing(items: pl.DataFrame) -> dict[str, float]:
    empty = {
        "title": pl.col("title") == "",
        "brand": pl.col("brand") == "",
        "categories": pl.col("categories").list.len() == 0,
    }
    return {name: float(items.select(wrong.mean()).item()) for name, wrong in empty.items()}


def _same_day(events: pl.DataFrame) -> float:
    """Share of the interactions that share their day with another of the same user."""
    return float(events.select((pl.len().over("user", "day") > 1).mean()).item())


def _same_day_test(rows: pl.DataFrame) -> float:
    """Share of the test rows whose day is that of their user's validation row: for them, order is a guess."""
    days = {
        split: rows.filter((pl.col("split") == split) & (pl.col("label") == 1)).select(
            "user", pl.col("day").alias(split)
        )
        for split in ("valid", "test")
    }
    both = days["test"].join(days["valid"], on="user", how="left")
    return float(both.select((pl.col("test") == pl.col("valid")).fill_null(value=False).mean()).item())


def _late(events: pl.DataFrame, rows: pl.DataFrame) -> dict[str, float]:
    first = events.group_by("item").agg(first=pl.col("day").min())
    negatives = rows.filter(pl.col("label") == 0).join(first, on="item")
    shares = negatives.group_by("split").agg(late=(pl.col("first") >= pl.col("day")).mean())
    found = dict(shares.iter_rows())
    return {split: float(found[split]) for split in (*SPLITS, ON_SALE) if split in found}
