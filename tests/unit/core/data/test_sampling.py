"""A sample is uniform, seeded, nested, and holds when the data grows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data import sampling


def rows(count: int, start: int = 0) -> pa.Table:
    """Pairs of a positive and its negative, one a position."""
    number = np.arange(start, start + 2 * count)
    pair = number // 2
    table = {"row": number, "user": pair // 7, "position": pair % 7, "item": number * 3 % 101, "label": 1 - number % 2}
    return pa.table(table)


def drawn(table: pa.Table, count: int | None, seed: int = 1, purpose: str = "test") -> list[int]:
    return sampling.draw(table, count, seed=seed, purpose=purpose)["row"].to_pylist()


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 5))
def test_a_larger_sample_contains_the_smaller_in_the_tables_order(count: int, less: int, seed: int) -> None:
    table = rows(30)
    larger, smaller = drawn(table, count, seed), drawn(table, max(0, count - less), seed)
    assert set(smaller) <= set(larger)
    assert larger == sorted(larger)
    assert len(larger) == count


def test_seed_and_purpose_make_samples_of_their_own() -> None:
    table = rows(500)
    first = set(drawn(table, 100))
    for other in (drawn(table, 100, seed=2), drawn(table, 100, purpose="other")):
        assert 2 < len(first & set(other)) < 25  # ten by chance
    assert drawn(table, None) == table["row"].to_pylist()


def test_most_of_a_sample_stays_when_rows_come_and_numbers_shift() -> None:
    table = rows(1000)

    def what(some: pa.Table) -> set[tuple]:
        chosen = sampling.draw(some, 400, seed=1, purpose="t").drop_columns("row")
        return {tuple(row.values()) for row in chosen.to_pylist()}

    grown = pa.concat_tables([rows(100, 10_000), table])
    shifted = grown.set_column(0, "row", pa.array(np.arange(grown.num_rows)))
    known, again = what(table), what(shifted)
    assert 330 < len(known & again) < 400


def test_every_row_is_equally_likely() -> None:
    table = rows(50)
    counts = np.bincount(np.concatenate([drawn(table, 20, seed) for seed in range(600)]), minlength=100)
    assert counts.min() > 80
    assert counts.max() < 160


def test_pairs_stay_together() -> None:
    found = sampling.draw_pairs(rows(40), 9, seed=3, purpose="t")
    assert found["label"].to_pylist() == [1, 0] * 9
    assert np.diff(found["row"].to_numpy().reshape(-1, 2), axis=1).ravel().tolist() == [1] * 9
    assert sampling.draw_pairs(rows(4), None, seed=3, purpose="t").num_rows == 8


@pytest.mark.parametrize("name", ["user", "position", "item", "label"])
def test_a_number_depends_on_what_the_row_is(name: str) -> None:
    table = rows(1)
    changed = table.set_column(table.schema.get_field_index(name), name, pa.array([8, 9]))
    assert (sampling.numbers(table, seed=1, purpose="t") != sampling.numbers(changed, seed=1, purpose="t")).all()
