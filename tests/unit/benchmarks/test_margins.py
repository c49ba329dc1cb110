"""What another seed does, as the margins' page counts it."""

from typing import Any

import numpy as np
import pytest

from benchmarks import margins


def _line(seed: int, test: dict[str, float], **config: Any) -> dict[str, Any]:
    return {
        "order": "published",
        "as_of": "latest",
        "data": "d",
        "config": {"seed": seed, **config},
        "metrics": {"test": test},
    }


def test_each_pair_of_seeds_of_one_configuration_counts_in_both_orders() -> None:
    lines = [_line(seed, {"auc": auc}, model="deepfm") for seed, auc in ((1, 0.80), (2, 0.81), (3, 0.83))]
    lines += [_line(seed, {"auc": 0.5}, model="din") for seed in (1, 2)]  # too few seeds
    lines += [_line(4, {"auc": 0.1}, model="deepfm", in_context={"alpha": 0.0})]  # another configuration

    worse = margins.worse_by(lines, "auc", less_is_better=False)

    assert sorted(worse.round(6)) == [-0.03, -0.02, -0.01, 0.01, 0.02, 0.03]


def test_a_loss_is_worse_where_it_is_higher() -> None:
    lines = [_line(seed, {"logloss": loss}) for seed, loss in ((1, 0.5), (2, 0.5), (3, 0.6))]

    worse = margins.worse_by(lines, "logloss", less_is_better=True)

    assert (worse > 0.05).sum() == 2
    assert (worse < -0.05).sum() == 2


def test_the_interval_turns_away_more_than_the_estimate() -> None:
    worse = np.array([-0.010, -0.005, 0.0, 0.0, 0.005, 0.010])

    found = margins.gate("auc", worse, 0.008)

    assert found.pairs == 3
    assert found.turned_away == pytest.approx({"estimate": 1 / 6, "interval": 2 / 6})
    assert found.quantiles[50] == pytest.approx(0.005)


def test_the_page_leaves_the_interval_out_where_its_reach_is_unknown() -> None:
    lines = [_line(seed, {"hit@10": hit, "ndcg@10": hit / 2}) for seed, hit in ((1, 0.10), (2, 0.10), (3, 0.12))]

    page = margins.page("shop", margins.measure({"ranking": [], "retrieval": lines}), "the command")

    assert "| `hit` | 0.010 | 3 | 0.0200 | 0.0200 | 0.0200 | 33.3% |  |" in page
    assert "`auc`" not in page
