"""The lists and their bound give what scoring everything gives, ties included, and say when they cannot be sure."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ict.nearest import NEAR, NOTHING, Found, NearestExamples, _Group

WIDTH, ITEMS = 8, 40


def world(seed: int, examples: int, *, coarse: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys (M, 2E), items (M,), item vectors (V, E) and labels (M,).

    `coarse` vectors have one or two coordinates, equal ones: so products are exact, and many scores are equal.
    """
    generator = np.random.default_rng(seed)

    def vectors(count: int) -> np.ndarray:
        if coarse:
            return np.eye(WIDTH, dtype=np.float32)[generator.integers(0, 3, count)]
        found = generator.normal(size=(count, WIDTH)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    item_vectors_VE = vectors(ITEMS)
    item_vectors_VE[:2] = 0
    item_M = np.append(0, generator.integers(2, ITEMS, examples))
    histories_ME = np.vstack([np.zeros((1, WIDTH), dtype=np.float32), vectors(examples)])
    key_MX = np.float32(sqrt(0.5)) * np.hstack([histories_ME, item_vectors_VE[item_M]])
    return key_MX, item_M, item_vectors_VE, generator.integers(0, 2, examples + 1)


def by_hand(score_CM: np.ndarray, groups: list[np.ndarray], eligible_M: np.ndarray, k: int) -> Found:
    """All scores, sorted, equal ones by number."""
    numbers, scores = [], []
    for group in groups:
        masked_CG = np.where(eligible_M[group], score_CM[:, group], NOTHING)
        order_Ck = np.argsort(-masked_CG, axis=1, kind="stable")[:, :k]
        best_Ck = np.take_along_axis(masked_CG, order_Ck, axis=1)
        short = ((0, 0), (0, k - order_Ck.shape[1]))
        numbers.append(np.pad(np.where(best_Ck == NOTHING, 0, group[order_Ck]), short))
        scores.append(np.pad(best_Ck, short, constant_values=NOTHING))
    return Found(np.hstack(numbers), np.hstack(scores))


def same(found: Found, wanted: Found, score_CM: np.ndarray) -> None:
    """Same scores, and same numbers but for those that rounding alone tells apart."""
    np.testing.assert_allclose(found.scores_CK, wanted.scores_CK, atol=1e-6)
    other_CK = found.numbers_CK != wanted.numbers_CK
    at_CK = [np.take_along_axis(score_CM, one.numbers_CK, axis=1) for one in (found, wanted)]
    np.testing.assert_allclose(at_CK[0][other_CK], at_CK[1][other_CK], atol=1e-6)
    for numbers_K in found.numbers_CK:
        there = numbers_K[numbers_K > 0]
        assert len(there) == len(set(there.tolist()))


@example(seed=45, examples=150, lengths=(20, 20), share=0.5, k=2, coarse=True, labels=True)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    examples=st.integers(0, 300),
    lengths=st.sampled_from([(1, 1), (3, 2), (2, 9), (20, 20), (500, 500)]),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    k=st.sampled_from([1, 2, 4]),
    coarse=st.booleans(),
    labels=st.booleans(),
)
def test_lists_give_what_all_scores_give(
    seed: int, examples: int, lengths: tuple[int, int], share: float, k: int, coarse: bool, labels: bool
) -> None:
    key_MX, item_M, item_vectors_VE, label_M = world(seed, examples, coarse=coarse)
    generator = np.random.default_rng(seed + 1)
    numbers = np.arange(1, examples + 1)
    groups = [numbers[label_M[1:] == label] for label in (1, 0)] if labels else [numbers]
    search = NearestExamples(key_MX, item_M, item_vectors_VE, groups, near=lengths[0], histories=lengths[1])
    history_L = np.append([0, 0, 1], generator.integers(2, ITEMS, 3 if seed % 5 else 0))
    eligible_M = generator.random(examples + 1) < share
    items_C = generator.integers(0, ITEMS, 12)
    history_M = search.histories(history_L)
    score_CM = np.float32(sqrt(0.5)) * (history_M + item_vectors_VE[items_C] @ key_MX[:, WIDTH:].T)
    wanted = by_hand(score_CM, groups, eligible_M, k)
    found = search.of_items(history_M, eligible_M, items_C, k)
    same(found, wanted, score_CM)
    if coarse:  # exact arithmetic, so that the rule of ties can be held against it
        np.testing.assert_array_equal(found.numbers_CK, wanted.numbers_CK)
    by_text = search.of_texts(history_M, eligible_M, item_vectors_VE[items_C], k)
    same(by_text, wanted, score_CM)
    alone = search.of_history(history_M, eligible_M, k)
    same(alone, by_hand(history_M[None] / np.float32(sqrt(0.5)), groups, eligible_M, k), history_M[None])


def test_prepared_lists_are_those_that_requests_make() -> None:
    key_MX, item_M, item_vectors_VE, _ = world(3, 200, coarse=False)
    groups, everything = [np.arange(1, 201)], np.ones(201, dtype=bool)
    cold, warm = (NearestExamples(key_MX, item_M, item_vectors_VE, groups, near=9, histories=9) for _ in range(2))
    warm.prepare()
    history_M = warm.histories(np.array([3, 4]))
    found, again = (one.of_items(history_M, everything, np.arange(ITEMS), 2) for one in (warm, cold))
    np.testing.assert_array_equal(found.numbers_CK, again.numbers_CK)


def test_lists_are_asked_and_not_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default lengths few candidates need a full scoring; with lists of one example nearly all do."""
    scored: list[int] = []
    score_all = _Group.all

    def counted(group: _Group, history_G: np.ndarray, texts_CE: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scored.append(len(texts_CE))
        return score_all(group, history_G, texts_CE, k)

    monkeypatch.setattr(_Group, "all", counted)
    key_MX, item_M, item_vectors_VE, _ = world(5, 3000, coarse=False)
    counts = []
    for length in (NEAR, 1):
        scored.clear()
        everything = [np.arange(1, 3001)]
        search = NearestExamples(key_MX, item_M, item_vectors_VE, everything, near=length, histories=length)
        search.of_items(search.histories(np.array([3, 4])), np.ones(3001, dtype=bool), np.arange(2, ITEMS), 2)
        counts.append(sum(scored))
    assert counts[0] < ITEMS // 4
    assert counts[1] > ITEMS // 2
