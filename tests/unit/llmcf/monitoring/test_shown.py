"""Coverage, concentration and popularity of what is recommended, by hand."""

import json

import numpy as np
import pytest

from core.result import plain
from llmcf.monitoring import shown
from llmcf.monitoring.figures import Figure, Part
from llmcf.monitoring.shown import Earlier

OFFERED = np.array([2, 3, 4, 5])
TAKINGS = np.array([0, 0, 1, 1, 2, 4])  # of items 2 to 5


def test_figures_by_hand():
    found = shown._figures(np.array([5, 5, 4, 5]), OFFERED, TAKINGS, np.array([2, 3, 4, 4, 5, 5, 5, 5]))
    assert found["coverage"] == 0.5
    assert found["gini"] == pytest.approx(((-3) * 0 + (-1) * 0 + 1 * 1 + 3 * 3) / (4 * 4))
    assert found["popularity_lift"] == pytest.approx((14 / 4) / (22 / 8) - 1)


def test_beside_items_that_nobody_ever_took_there_is_no_lift():
    found = shown._figures(np.array([5, 5]), OFFERED, TAKINGS, np.array([0, 1]))
    assert np.isnan(found["popularity_lift"])
    line = Figure(name="popularity_lift", value=found["popularity_lift"]).as_json()
    assert np.isnan(Figure.from_json(json.loads(json.dumps(plain(line)))).value), "as a day's line has it"


def test_the_lorenz_curve():
    curve = shown._exposure(np.array([5, 5, 4, 5]), OFFERED)
    assert (curve[0], curve[50], curve[75], curve[100]) == (0, 0, pytest.approx(0.25), 1)


def test_tenths_of_the_catalogue():
    recommended, taken = shown._popularity(np.array([5, 5, 4, 5]), np.array([2, 3, 9]), np.arange(12), OFFERED)
    assert recommended == [0, 0, 0, 0, 0, 0.25, 0, 0.75, 0, 0]
    assert taken == [0.5, 0, 0.5, 0, 0, 0, 0, 0, 0, 0], "what is not on offer is left out"


@pytest.mark.parametrize(
    ("earlier", "before", "said"),
    [
        (Earlier("answers", 900, {"coverage": 0.5}), 0.5, ""),
        (Earlier("answers", 100, {"coverage": 0.5}), None, "1,000 from answers are not held against 100 from answers"),
        (Earlier("account", 1000, {"coverage": 0.5}), None, "are not held against 1,000 from account"),
        (None, None, "it was not monitored"),
    ],
)
def test_what_is_alike_is_held_against_each_other(earlier: Earlier | None, before: float | None, said: str):
    part = Part(name="recommended")
    shown._add(part, Earlier("answers", 1000, {"coverage": 0.25}), earlier)
    assert part.figures[1].before == before
    assert said in "".join(part.missing)
    assert bool(part.missing) == bool(said)
