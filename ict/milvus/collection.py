"""A stored collection: what it says of itself, its rows, and searching it.

Suffixes: B queries, X width of a vector, k results.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.contracts import PAD
from core.errors import LlmcfError, UsageError
from ict.exact import NOTHING, Exact
from ict.filters import Filter
from ict.milvus import lite
from ict.milvus.indexes import IndexConfig

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_ACCOUNT = "llmcf.account"  # the property that holds a version's account
_READ_BYTES, _MOST_READ = 16 * 2**20, 8000  # of a call that reads rows; the server refuses more than 16,384 rows
_LEFT_TO_READ = 10_000  # rows that a filter leaves, which are read and compared one by one if the index loses some
_AT_ONCE = "Eventually"  # a version never changes, so a search need not wait for what is being written elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection over an open connection, searchable. It never changes, so what it says of itself is asked once.

    Args:
        widths: of every field: the width of a vector, 0 of any other.
        count: its rows.
        account: what was found out about it when it was published; empty for a version of before accounts.
        remedy: the command that publishes the like of it, which errors name.
    """

    client: "MilvusClient"
    name: str
    widths: Mapping[str, int]
    count: int
    account: Mapping[str, Any]
    remedy: str

    @classmethod
    def open(cls, client: "MilvusClient", name: str, remedy: str = "llmcf cot index") -> "Collection":
        """Load the collection of that name."""
        lite.load(client, name)
        told = _described(client, name)
        widths = _widths(told)
        count = client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"]
        return cls(client=client, name=name, widths=widths, count=count, account=_account(told), remedy=remedy)

    @property
    def index(self) -> IndexConfig:
        """Of the vectors that are searched; versions of before accounts are FLAT."""
        return IndexConfig.of(self.account.get("index", {}))

    def left(self, rule: Filter, *, also: str = "") -> int:
        """Rows that `rule` lets through; `also` is a further expression of ours."""
        expression = " and ".join(filter(None, [rule.expression(), also]))
        return self.client.query(self.name, filter=expression, output_fields=["count(*)"])[0]["count(*)"]

    def read(self, fields: Sequence[str], rule: Filter | None = None) -> dict[str, np.ndarray]:
        """The rows' `fields` as columns, ordered by the primary key `id`, which is always among them.

        Lists of numbers are padded with PAD.
        """
        rows = list(self._rows(fields, rule))
        rows.sort(key=lambda row: row["id"])
        return {name: _column([row[name] for row in rows], self.widths[name]) for name in ("id", *fields)}

    def search(
        self, queries_BX: np.ndarray, k: int, rule: Filter | None = None, *, vector: str, none_left: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query by inner product: ids and scores, (B, k), best first, as `Exact.search`.

        Where fewer than k rows are left, the rest is PAD with a score of -inf.

        Args:
            none_left: whether a filter that leaves no row at all is an answer, and not an error.

        Raises:
            UsageError: for queries of another width, a k above the number of rows, a filter that leaves nothing or
                that asks for what the collection does not hold.
            LlmcfError: if the index finds fewer rows than there are.
        """
        rule = rule or Filter()
        self._check(queries_BX, k, rule, vector)
        hits_B = self.client.search(
            self.name,
            data=list(np.ascontiguousarray(queries_BX, dtype=np.float32)),
            anns_field=vector,
            filter=rule.expression(),
            limit=k,
            search_params={"params": self.index.search_params(k)},
            consistency_level=_AT_ONCE,
        )
        if any(len(hits) < k for hits in hits_B):
            left = self.left(rule)
            if not left and not none_left:
                raise UsageError(f"the filter ({rule.expression()}) leaves none of {self.count:,} rows; ask for less")
            if any(len(hits) < min(k, left) for hits in hits_B):
                return self._one_by_one(queries_BX, k, rule, vector, left)
        found = [_padded([(hit["id"], hit["distance"]) for hit in hits], k) for hits in hits_B]
        return np.array([ids for ids, _ in found]), np.array([scores for _, scores in found], dtype=np.float32)

    def _check(self, queries_BX: np.ndarray, k: int, rule: Filter, vector: str) -> None:
        width = queries_BX.shape[1]
        if vector not in self.widths:
            raise UsageError(f"{self.name} has no vectors {vector!r}; run `{self.remedy}` after they were made")
        if self.widths[vector] != width:
            raise UsageError(
                f"{self.name} holds vectors of {self.widths[vector]} numbers, and the queries have {width}: they are "
                f"of another encoder; run `{self.remedy}`"
            )
        if missing := sorted(rule.reads() - set(self.widths)):
            raise UsageError(
                f"{self.name} has no {', '.join(missing)}, which the filter ({rule.expression()}) asks for; "
                f"run `{self.remedy}`"
            )
        if not 0 < k <= self.count:
            raise UsageError(f"k = {k} is not between 1 and the {self.count:,} rows of {self.name}")

    def _one_by_one(
        self, queries_BX: np.ndarray, k: int, rule: Filter, vector: str, left: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A graph or cells may lose the few rows that a narrow filter leaves: those are read and compared exactly."""
        if left > _LEFT_TO_READ:
            raise LlmcfError(
                f"the index of {self.name} finds fewer than {k} of the {left:,} rows that ({rule.expression()}) "
                "leaves; publish it as IVF_FLAT or FLAT"
            )
        rows = self.read([vector], rule)
        return Exact(rows["id"], rows[vector], {}).search(queries_BX, k)

    def _rows(self, fields: Sequence[str], rule: Filter | None) -> Iterator[dict[str, Any]]:
        size = 4 * sum(self.widths[name] for name in fields)
        iterator = self.client.query_iterator(
            self.name,
            batch_size=min(_MOST_READ, _READ_BYTES // max(1, size)),
            filter=rule.expression() if rule else "",
            output_fields=["id", *fields],
        )
        while batch := iterator.next():
            yield from batch
        iterator.close()


def _column(values: list[Any], width: int) -> np.ndarray:
    """Vectors of `width` numbers, lists of numbers padded with PAD, whole numbers or texts."""
    if width or not values or not isinstance(values[0], Sequence) or isinstance(values[0], str):
        kind = object if values and isinstance(values[0], str) else np.float32 if width else None
        return np.array(values, dtype=kind)  # a text of its own length each, not all of the longest's
    longest = max(len(one) for one in values)
    return np.array([[*one, *[PAD] * (longest - len(one))] for one in values], dtype=np.int64)


def _padded(found: list[tuple[int, float]], k: int) -> tuple[list[int], list[float]]:
    full = [*found, *[(PAD, NOTHING)] * (k - len(found))]
    return [number for number, _ in full], [score for _, score in full]


def account_of(client: "MilvusClient", name: str) -> dict[str, Any]:
    """What was found out about a collection when it was published."""
    return _account(_described(client, name))


def widths_of(client: "MilvusClient", name: str) -> dict[str, int]:
    """Of every field of a collection, which is not loaded for it: the width of a vector, 0 of any other."""
    return _widths(_described(client, name))


def _widths(described: Mapping[str, Any]) -> dict[str, int]:
    return {one["name"]: int(one["params"].get("dim", 0)) for one in described["fields"]}


def _described(client: "MilvusClient", name: str) -> dict[str, Any]:
    return client.describe_collection(name)  # pyright: ignore[reportReturnType] - no coroutine, as pymilvus says


def _account(described: Mapping[str, Any]) -> dict[str, Any]:
    told = described.get("properties", {}).get(_ACCOUNT)
    return json.loads(told) if told else {}


def tell(client: "MilvusClient", name: str, found: Mapping[str, Any]) -> None:
    """Keep an account with a collection."""
    client.alter_collection_properties(name, {_ACCOUNT: json.dumps(found)})
