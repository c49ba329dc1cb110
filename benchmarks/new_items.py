"""How often the service finds items that came after its release, beside the text cosine.

    .venv/bin/python -m benchmarks.new_items --dataset amazon-beauty

Takes the newest release whose ranker is LLM-CF. It must be of the order `global-time` and of a day, `--as-of D`: what
happened from that day on is what it has not seen. `llmcf serve` starts on it in a home of the benchmark's own, all
items that were first taken later are posted to it, and then it is asked for each later interaction with the history
that its user had, as a session. A hit is the item taken among the ten of the answer. The text cosine ranks the same
catalogue, known and new, by the text of the history's last item. Items of the history count for neither. Writes
benchmarks/results/new_items.{json,md}. Suffixes: N rows, V items, E text width.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks import measured
from benchmarks.recommend import K, newest
from benchmarks.service import a_store, repository
from core import uncertainty
from core.contracts import FIRST_ID, HISTORY
from core.data import tables
from core.data.prepare import prepare
from core.errors import LlmcfError, UsageError
from core.markdown import table
from core.progress import say, track
from core.settings import LATEST, Workspace
from core.uncertainty import Interval
from ict.examples import text_vectors
from llm.texts.encoder import Encoder
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from tests.running_service import Running, run_service

_AT_ONCE = 100  # items of a request
_WITHIN_S = 300.0
_NEW, _KNOWN = "new items", "known items"


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """What happened from the release's day on: raw ids, and each row's history, oldest first.

    Args:
        items: raw id, title, brand, categories and text of every item that was taken by then or later.
    """

    users: Sequence[str]
    targets: Sequence[str]
    histories: Sequence[Sequence[str]]
    items: pl.DataFrame

    def take(self, places: NDArray[np.int64]) -> "Later":
        at = [int(place) for place in places]
        return Later(
            users=[self.users[place] for place in at],
            targets=[self.targets[place] for place in at],
            histories=[self.histories[place] for place in at],
            items=self.items,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """HIT@10 over some rows by the service and by the text cosine, and the first less the second."""

    rows: int
    users: int
    service: Interval
    text: Interval
    gain: Interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument(
        "--rows", type=int, default=2000, help="of new and of known items, drawn (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=2023, help="of the draw (default: %(default)s)")
    asked = parser.parse_args()
    try:
        account, lines = measure(asked)
    except LlmcfError as error:
        say(f"new items are not looked for: {error}")
        return
    measured.write("new_items", account, "\n".join(lines))
    say("\n".join(lines))


def measure(asked: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """The account and the page.

    Raises:
        LlmcfError: if there is no such release, or nothing happened after it.
    """
    release = _release(asked.dataset)
    ws = release.workspace
    known = [raw_id for raw_id, offered in _columns(tables.items(ws), "raw_id", "offered") if offered]
    later = happened_later(ws, datetime.fromisoformat(ws.as_of).replace(tzinfo=UTC).timestamp())
    of_new = np.isin(np.array(later.targets, dtype=object), np.array(known, dtype=object), invert=True)
    generator = np.random.default_rng(asked.seed)
    drawn = {name: _draw(generator, np.flatnonzero(of), asked.rows) for name, of in ((_NEW, of_new), (_KNOWN, ~of_new))}
    if not len(drawn[_NEW]):
        raise UsageError(f"nobody with a history took an item from {ws.as_of} on that was new then")
    fresh = later.items.filter(~pl.col("raw_id").is_in(known) & pl.col("raw_id").is_in(later.targets))
    name, store = a_store()
    with tempfile.TemporaryDirectory(prefix="llmcf-new-items-") as folder, store(ws), repository({"": release}):
        releases.promote(release)
        with run_service(ws.dataset, Path(folder, "log")) as service:
            seconds = _post(service, fresh)
            answers = {part: _asked(service, later.take(rows_N), part) for part, rows_N in drawn.items()}
    cosine = TextCosine.of(release, known, fresh)
    found, showing = {}, {}
    for part, rows_N in drawn.items():
        rows, shown = later.take(rows_N), answers[part]
        hits_N = np.array([target in top for target, top in zip(rows.targets, shown, strict=True)])
        found[part] = judged(hits_N, cosine.hits(rows), np.array(rows.users, dtype=object))
        showing[part] = float(np.mean([bool(set(top) & set(fresh["raw_id"])) for top in shown]))
    command = f"python -m benchmarks.new_items --dataset {asked.dataset} --rows {asked.rows} --seed {asked.seed}"
    account = {
        "command": command,
        "as_of": ws.as_of,
        "posted": len(fresh),
        "seconds_until_found": round(seconds, 1),
        "store": name,
        "answers_with_new_items": showing,
        **{part: asdict(one) for part, one in found.items()},
    }
    return account, page(account, release, found)


def _release(dataset: str) -> Release:
    release = newest(dataset).get("llm-cf")
    if release is None:
        raise UsageError(f"no release of {dataset} has a ranker of framework llm-cf; `llmcf export` makes one")
    if release.order != "global-time" or release.as_of == LATEST:
        raise UsageError(
            f"release {release.number} of {dataset} is of order {release.order} and as of {release.as_of}: what came "
            "after it cannot be told; make one with --order global-time --as-of <day>, from prepare to export"
        )
    return release


def happened_later(ws: Workspace, start: float) -> Later:
    """Prepared anew in a home of its own, whose vocabulary knows what the release could not."""
    with tempfile.TemporaryDirectory(prefix="llmcf-later-") as home, mock.patch.dict("os.environ", LLMCF_HOME=home):
        latest = Workspace(ws.dataset, ws.order)
        prepare(latest, source=None, seed=2023)
        taken, items = tables.interactions(latest), tables.items(latest)
        users = tables.users(latest)
    columns = pl.DataFrame(items.select(["item", "raw_id", "title", "brand", "categories", "text"]))
    return with_histories(pl.DataFrame(taken), columns, pl.DataFrame(users.select(["user", "raw_id"])), start)


def with_histories(taken: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame, start: float) -> Later:
    """The interactions from `start` on of users who had taken something before, each with what these were."""
    named = (
        taken.join(items.select("item", "raw_id"), on="item")
        .join(users.select("user", pl.col("raw_id").alias("who")), on="user")
        .sort("user", "position")
    )
    whole = named.group_by("user", maintain_order=True).agg("raw_id", "timestamp", pl.col("who").first())
    found: tuple[list[str], list[str], list[list[str]]] = [], [], []
    for _, ids, times, who in whole.iter_rows():
        for place in range(1, len(ids)):
            if times[place] >= start:
                for column, value in zip(found, (who, ids[place], ids[max(0, place - HISTORY) : place]), strict=True):
                    column.append(value)
    return Later(users=found[0], targets=found[1], histories=found[2], items=items)


def _draw(generator: np.random.Generator, places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return np.sort(generator.permutation(places)[:most])


def _columns(found: Any, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(found[name].to_pylist() for name in names), strict=True))


def _post(service: Running, fresh: pl.DataFrame) -> float:
    """Post the items; the seconds until the last can be looked for.

    Raises:
        LlmcfError: if the service does not take them, or none of them is there in time.
    """
    if not service.said("intake of", _WITHIN_S):
        raise LlmcfError("the service's intake did not start")
    rows = fresh.select(pl.col("raw_id").alias("id"), "title", "brand", "categories").to_dicts()
    start = time.monotonic()
    for first in range(0, len(rows), _AT_ONCE):
        answer = service.http.post("/items", json={"items": rows[first : first + _AT_ONCE]})
        if answer.status_code >= 400:
            raise LlmcfError(f"the service does not take new items: {answer.text}")
    last = f"/items/{quote(rows[-1]['id'], safe='')}/similar"
    while service.http.get(last).status_code != 200:
        if time.monotonic() - start > _WITHIN_S:
            raise LlmcfError(f"new items are not to be found within {_WITHIN_S:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - start


def _asked(service: Running, rows: Later, part: str) -> list[list[str]]:
    """The ten items that the service shows to each row's session.

    Raises:
        LlmcfError: if an answer is none of the whole ladder's.
    """
    found = []
    for history in track(rows.histories, total=len(rows.histories), what=f"sessions, {part}"):
        answer = service.http.post(
            "/recommendations", json={"history": list(history), "k": K}, headers={"X-Timeout-Ms": "30000"}
        )
        body = answer.json()
        if answer.status_code != 200 or body["served_by"]["rung"] != "full":
            raise LlmcfError(f"the service does not answer in full: {answer.text[:500]}")
        found.append([one["item"] for one in body["items"]])
    return found


class TextCosine:
    """Ranks known and new items by the cosine of their text with that of the history's last item."""

    def __init__(self, ids: Sequence[str], vectors_VE: NDArray[np.float32]) -> None:
        self._at = {raw_id: place for place, raw_id in enumerate(ids)}
        self._vectors_VE = vectors_VE

    @classmethod
    def of(cls, release: Release, known: Sequence[str], fresh: pl.DataFrame) -> "TextCosine":
        """The known items' vectors as the release has them, those of the new by the same encoder."""
        ws = release.workspace
        encode = Encoder(release.encoder.partition("@")[0])
        rows = dict(_columns(tables.items(ws), "raw_id", "item"))
        vectors = text_vectors(ws, tables.remedy(ws, "cot embed"))["items"].numpy()
        at = np.array([rows[raw_id] for raw_id in known])
        assert at.min() >= FIRST_ID
        return cls([*known, *fresh["raw_id"]], np.concatenate([vectors[at], encode(fresh["text"].to_list())]))

    def hits(self, rows: Later) -> NDArray[np.bool_]:
        """Whether each target is among the ten nearest that its history has not; equals count as nearer, (N,)."""
        found = []
        for target, history in zip(rows.targets, rows.histories, strict=True):
            score_V = self._vectors_VE @ self._vectors_VE[self._at[history[-1]]]
            own = score_V[self._at[target]]
            score_V[[self._at[one] for one in history]] = -np.inf
            found.append(np.count_nonzero(score_V >= own) - (target not in history) < K and target not in history)
        return np.array(found, dtype=bool)


def judged(service_N: NDArray[np.bool_], text_N: NDArray[np.bool_], users_N: NDArray[Any]) -> Found:
    """Shares of hits with intervals by bootstrap over users."""
    _, of_N = np.unique(users_N.astype(str), return_inverse=True)
    service, users = uncertainty.mean_of(service_N.astype(float), of_N)
    text, _ = uncertainty.mean_of(text_N.astype(float), of_N)
    return Found(
        rows=len(service_N),
        users=users,
        service=uncertainty.bootstrap(service, users),
        text=uncertainty.bootstrap(text, users),
        gain=uncertainty.bootstrap(uncertainty.difference(service, text), users),
    )


def page(account: dict[str, Any], release: Release, found: dict[str, Found]) -> list[str]:
    """The figures as Markdown."""
    stages = ", ".join(
        f"{name}: {stage.backbone} {stage.framework} {stage.recipe}" for name, stage in release.stages.items()
    )
    lines = [
        [
            part,
            f"{one.rows:,}",
            f"{one.users:,}",
            _interval(one.service),
            _interval(one.text),
            _interval(one.gain, signed=True),
            f"{account['answers_with_new_items'][part]:.0%}",
        ]
        for part, one in found.items()
    ]
    head = [
        "taken later",
        "rows",
        "users",
        "HIT@10, service",
        "HIT@10, text cosine",
        "difference",
        "answers with a new item",
    ]
    return [
        "# Items that came after the release",
        "",
        f"{release.dataset}, order {release.order}, release as of {account['as_of']} ({stages}). "
        f"{account['posted']:,} items that were first taken later were posted to `POST /items`, and the last was found "
        f"after {account['seconds_until_found']:.1f} s; the online store was {account['store']}. Then each row was "
        "asked for by its history, as a session. 95 % intervals by bootstrap over users. Nobody had taken a new item "
        f"before, so popularity finds none. `{account['command']}` on {measured.sentence()}",
        "",
        *table(head, lines),
        "",
    ]


def _interval(one: Interval, *, signed: bool = False) -> str:
    return " ".join([f"{one.estimate:{'+' if signed else ''}.4f}", f"[{one.low:.4f}, {one.high:.4f}]"])


if __name__ == "__main__":
    main()
