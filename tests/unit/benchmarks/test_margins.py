"""What another seed does, as the margins' page counts it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import margins
from core import measurements
from retrieval_stage.recipes import resolve


def _cell(**of_seeds: float) -> dict[int, dict[str, Any]]:
    return {number: {"metrics": {"test": {"it": value}}} for number, value in enumerate(of_seeds.values())}


def test_each_pair_of_seeds_of_one_cell_counts_in_both_orders() -> None:
    cells = [_cell(a=0.80, b=0.81, c=0.83), _cell(a=0.5, b=0.6)]  # the second has too few seeds

    worse = margins.worse_by(cells, "it", less_is_better=False)

    assert sorted(worse.round(6)) == [-0.03, -0.02, -0.01, 0.01, 0.02, 0.03]


def test_a_loss_is_worse_where_it_is_higher() -> None:
    worse = margins.worse_by([_cell(a=0.5, b=0.5, c=0.6)], "it", less_is_better=True)

    assert (worse > 0.05).sum() == 2
    assert (worse < -0.05).sum() == 2


def test_states_of_the_rows_are_not_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path))
    for seed, data in ((1, "a"), (2, "a"), (3, "b")):
        config = asdict(resolve(model="sasrec", framework="none", recipe="strict", seed=seed))
        line = {"order": "published", "as_of": "latest", "data": data, "config": config}
        measurements.append(measurements.file("retrieval", "shop"), line, same=("config",))

    assert [list(cell) for cell in margins.cells_of("retrieval", "shop")] == [[1, 2], [3]]


def test_the_interval_turns_away_more_than_the_estimate() -> None:
    worse = np.array([-0.010, -0.005, 0.0, 0.0, 0.005, 0.010])

    found = margins.gate("auc", worse, 0.008)

    assert found.pairs == 3
    assert found.turned_away == pytest.approx({"estimate": 1 / 6, "interval": 2 / 6})
    assert found.quantiles[50] == pytest.approx(0.005)


def test_the_page_leaves_the_interval_out_where_its_reach_is_unknown() -> None:
    cell = {
        seed: {"metrics": {"test": {"hit@10": hit, "ndcg@10": hit / 2}}}
        for seed, hit in ((1, 0.10), (2, 0.10), (3, 0.12))
    }

    page = margins.page("shop", margins.measure({"ranking": [], "retrieval": [cell]}), "the command")

    assert "| `hit` | 0.010 | 3 | 0.0200 | 0.0200 | 0.0200 | 33.3% |  |" in page
    assert "`auc`" not in page
