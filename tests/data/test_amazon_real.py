"""The real Amazon sets, as in LLMCF_SHARED: the paper's Table 2, METHOD's figures, and both sources alike."""

import numpy as np
import pytest

from core import settings
from core.data import asof, datasets, tables
from core.data.audit import held_out_violations, history_violations, negative_violations, on_sale_violations
from core.data.prepare import prepare
from core.settings import Workspace
from tests.amazon_files import official_of, prepared_of

pytestmark = pytest.mark.data
ROWS = {"amazon-beauty": 307_552, "amazon-sports": 450_282}


@pytest.fixture(params=ROWS)
def ws(request: pytest.FixtureRequest, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    folder = request.param.removeprefix("amazon-").capitalize()
    if not (settings.shared() / "data" / "amazon" / folder).is_dir():
        pytest.skip(f"no local data: LLMCF_SHARED holds no data/amazon/{folder}")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return Workspace(request.param, "shuffled-ties")


def test_counts_are_the_papers_and_no_row_knows_more_than_it_may(ws):
    details = prepare(ws, source=None, seed=1).details
    assert details["table2"]["equal"]
    assert details["rejects"] == {}
    assert details["rows"]["train"] == ROWS[ws.dataset]
    interactions, prepared = tables.interactions(ws), tables.rows(ws)
    rows = asof.attach(prepared, interactions, tables.items(ws))
    for check in (history_violations, held_out_violations, negative_violations, on_sale_violations):
        assert check(rows, interactions).tolist() == []
    first = np.full(int(interactions["item"].to_numpy().max()) + 1, 1 << 30)
    np.minimum.at(first, interactions["item"].to_numpy(), interactions["day"].to_numpy())
    negative = prepared["label"].to_numpy() == 0
    early = first[prepared["item"].to_numpy()] >= prepared["day"].to_numpy()
    share = {split: early[negative & (prepared["split"].to_numpy() == split)].mean() for split in ("train", "test")}
    assert 0.2 < share["train"] < 0.3  # METHOD section 11: uniform negatives are easier than they look
    assert 0.05 < share["test"] < 0.12


@pytest.mark.parametrize("literal", [True, False])
def test_both_sources_give_the_same_tables(tmp_path, literal):
    prepared = settings.shared() / "data" / "amazon" / "Beauty"
    if not prepared.is_dir():
        pytest.skip("no local data: LLMCF_SHARED holds no data/amazon/Beauty")
    dataset = datasets.find("amazon-beauty")
    sources = official_of(prepared, tmp_path / "a", 3000, literal=literal), prepared_of(prepared, tmp_path / "b", 3000)
    ours, theirs = (dataset.read(dataset.files(source)) for source in sources)
    assert ours.interactions.drop_columns("rating").equals(theirs.interactions.drop_columns("rating"))
    items = [table.items.filter(np.isin(table.items["raw_id"], ours.interactions["item"])) for table in (ours, theirs)]
    assert items[0].sort_by("raw_id").equals(items[1].sort_by("raw_id"))
    assert ours.rejects.counts() == theirs.rejects.counts()


def test_the_published_order_is_the_copys(tmp_path, monkeypatch):
    import polars as pl

    prepared = settings.shared() / "data" / "amazon" / "Beauty"
    if not prepared.is_dir():
        pytest.skip("no local data: LLMCF_SHARED holds no data/amazon/Beauty")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    ws = Workspace("amazon-beauty", "published")
    prepare(ws, source=None, seed=1)
    users, items = ({row[key]: row["raw_id"] for row in table.to_pylist()} for key, table in
                    (("user", tables.users(ws)), ("item", tables.items(ws))))  # fmt: skip
    ours = {(users[row["user"]], row["position"]): items[row["item"]] for row in tables.interactions(ws).to_pylist()}
    copy, asins, names = (pl.read_parquet(prepared / f"{name}.parquet") for name in ("interactions", "items", "users"))
    theirs = copy.join(asins.select("item", "asin"), on="item").join(names, on="user")
    assert ours == {(row["reviewerID"], row["position"]): row["asin"] for row in theirs.to_dicts()}
