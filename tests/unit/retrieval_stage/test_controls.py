"""Controls by hand, against slow twins, and with leaks planted on purpose."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log1p

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts import FIRST_ID, PAD
from retrieval_stage import controls, evaluation
from retrieval_stage.controls import Transitions
from retrieval_stage.evaluation import Score
from retrieval_stage.sequences import Sequences
from retrieval_stage.takings import Takings
from retrieval_stage.transition_graph import ONE_MORE_STEP, SECOND_LAST
from tests import in_memory

ITEMS = 8
A, B, C, D, E, F, G, H = range(FIRST_ID, FIRST_ID + ITEMS)
ALL = torch.ones(ITEMS, dtype=torch.bool)
VECTORS = torch.zeros(FIRST_ID + ITEMS, 4)
for _item, _axis in {A: 0, B: 0, C: 1, D: 1, E: 2}.items():  # texts of F, G and H say nothing
    VECTORS[_item, _axis] = 1
VECTORS[E, :3] = torch.tensor([0.6, 0.0, 0.8])

World = Mapping[int, Sequence[tuple[int, int, str]]]


def scores(sequences: Sequences, offered_V: torch.Tensor = ALL) -> dict[str, Score]:
    takings = Takings(sequences, ITEMS)
    transitions, text = Transitions(sequences, ITEMS), controls.text(sequences, VECTORS)
    evidence = {
        "transitions": transitions,
        "text": text,
        "graph+text": controls.sum_of(transitions, text, 2.0),
    }
    made = {name: controls.by_evidence(one, sequences, takings, offered_V) for name, one in evidence.items()}
    return {"popularity": controls.popularity(sequences, takings, offered_V), **made}


CONTROLS = list(scores(in_memory.sequences({2: [(A, 0, "train")]})))


def slow_evidence(world: World, history: Sequence[int], day: int) -> list[float]:
    """Step by step, as `Transitions` says it."""
    steps = Counter()
    for own in world.values():
        for (source, _, split), (target, later, later_split) in pairwise(own):
            if split == later_split == "train" and later < day:
                steps[source, target] += 1

    def strengths(source: int) -> dict[int, float]:
        found = {target: log1p(count) for (start, target), count in steps.items() if start == source}
        return {target: strength / max(found.values()) for target, strength in found.items()}

    total = dict.fromkeys(range(FIRST_ID, FIRST_ID + ITEMS), 0.0)
    for place, weight in ((1, 1.0), (2, SECOND_LAST)):
        for target, strength in strengths(history[-place]).items() if len(history) >= place else ():
            total[target] += weight * strength
            for further, other in strengths(target).items():
                total[further] += weight * ONE_MORE_STEP * strength * other
    return list(total.values())


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Users whose days never go back; what is held out comes last."""
    world = {}
    for user in range(2, 2 + draw(st.integers(1, 5))):
        days = sorted(draw(st.lists(st.integers(0, 4), min_size=1, max_size=6)))
        held_out = draw(st.integers(0, len(days)))
        splits = ["train"] * (len(days) - held_out) + ["valid", *["test"] * 9][:held_out]
        world[user] = [(draw(st.integers(A, H)), day, split) for day, split in zip(days, splits, strict=True)]
    return world


@given(worlds())
@settings(max_examples=80, deadline=None)
def test_transitions_agree_with_a_slow_twin(world: World) -> None:
    sequences = in_memory.sequences(world)
    found = Transitions(sequences, ITEMS)(torch.arange(len(sequences)))
    before = [[item for item, _, _ in own[:place]] for own in world.values() for place in range(len(own))]
    days = [day for own in world.values() for _, day, _ in own]
    expected = [slow_evidence(world, history, day) for history, day in zip(before, days, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_transitions_by_hand() -> None:
    world = {
        2: [(A, 0, "train"), (B, 1, "train")],
        3: [(A, 0, "train"), (B, 2, "train"), (D, 3, "train")],
        4: [(A, 0, "train"), (C, 2, "train")],
        5: [(E, 0, "train"), (F, 0, "train")],
        6: [(E, 5, "train"), (A, 6, "train"), (G, 9, "test")],
    }
    found = Transitions(in_memory.sequences(world), ITEMS)(torch.tensor([11]))[0]  # the test row
    step = ONE_MORE_STEP
    expected = {
        B: 1 + SECOND_LAST * step * 1,  # two steps from A, the strongest; and from E over A
        C: log1p(1) / log1p(2) * (1 + SECOND_LAST * step),
        D: step,  # from A over B
        A: SECOND_LAST,  # this user's own step from E, of a training row of an earlier day
        F: SECOND_LAST,
    }
    assert dict(enumerate(found.tolist(), start=FIRST_ID)) == pytest.approx(
        {item: expected.get(item, 0.0) for item in range(A, H + 1)}
    )


WORLD: World = {
    2: [(A, 1, "train"), (B, 3, "train"), (C, 5, "valid"), (D, 7, "test")],
    3: [(A, 1, "train"), (B, 2, "train"), (E, 4, "train"), (F, 6, "train")],
    4: [(C, 1, "train"), (E, 2, "train"), (B, 4, "valid"), (G, 5, "test")],
    5: [(B, 1, "train"), (D, 2, "train")],
}
ROW = 3  # user 2's test row, of day 7: the last items are C and B
PLANTED: dict[str, World] = {
    "of the same day": {6: [(C, 7, "train"), (H, 7, "train"), (G, 7, "train")]},
    "of a later day": {6: [(C, 8, "train"), (H, 9, "train")]},
    "held out of another user": {6: [(C, 1, "valid"), (H, 2, "test")]},
    "the user's own, of the day": {
        2: [*WORLD[2][:1], (B, 3, "train"), (C, 5, "valid"), (D, 7, "test"), (H, 7, "test")]
    },
    "the target": {2: [*WORLD[2][:3], (H, 7, "test")]},
}


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("planted", PLANTED)
def test_what_a_row_must_not_know_changes_none_of_its_scores(name: str, planted: str) -> None:
    before, after = (in_memory.sequences(world) for world in (WORLD, {**WORLD, **PLANTED[planted]}))
    row = torch.tensor([ROW])
    assert torch.equal(scores(after)[name](row), scores(before)[name](row))


@pytest.mark.parametrize("name", CONTROLS)
def test_what_a_row_may_know_changes_its_scores(name: str) -> None:
    """The same interactions a day earlier, and in training rows: the test above would see them."""
    after = in_memory.sequences({**WORLD, 6: [(C, 6, "train"), (H, 6, "train")]})
    row = torch.tensor([ROW])
    assert not torch.equal(scores(after)[name](row), scores(in_memory.sequences(WORLD))[name](row))


def test_a_step_into_a_held_out_row_is_none() -> None:
    """Where its first item is of a training row, and on an earlier day."""
    row = torch.tensor([ROW])
    before, after = (
        Transitions(in_memory.sequences(world), ITEMS)(row)
        for world in (WORLD, {**WORLD, 6: [(C, 1, "train"), (H, 2, "valid"), (G, 3, "train")]})
    )
    assert torch.equal(after, before)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_row_without_a_history_gets_what_is_popular(name: str) -> None:
    sequences = in_memory.sequences({**WORLD, 7: [(G, 6, "test")]})
    last = torch.tensor([len(sequences) - 1])
    assert sequences.history_NL[last].unique().tolist() == [PAD]
    found = scores(sequences)[name](last)[0].tolist()
    takings = {B: 3, A: 2, E: 2, C: 1, D: 1, F: 0, G: 0, H: 0}  # before day 6
    for one, count in takings.items():
        for other, fewer in takings.items():
            assert (found[one - FIRST_ID] > found[other - FIRST_ID]) == (count > fewer), (one, other)


def test_any_evidence_comes_before_any_popularity_which_decides_among_equals() -> None:
    crowd = {user: [(H, 0, "train"), (H, 1, "train")] for user in range(10, 400)}
    world = {2: [(A, 3, "valid"), (D, 4, "test")], 3: [(A, 0, "train"), (B, 1, "train")], **crowd}
    more = {4: [(A, 0, "train"), (C, 1, "train")], 5: [(C, 2, "train")]}
    found = scores(in_memory.sequences({**world, **more}))["transitions"](torch.tensor([1]))[0]
    order = (found.argsort(descending=True) + FIRST_ID).tolist()
    assert order[:4] == [C, B, H, A], "C and B followed A once, C was taken twice; H 780 times"


@given(
    st.lists(st.floats(-1, 1, width=32, allow_subnormal=False), min_size=ITEMS, max_size=ITEMS),
    st.lists(st.integers(0, 3), min_size=ITEMS, max_size=ITEMS),
)
@settings(max_examples=200, deadline=None)
def test_popularity_never_outranks_more_evidence(evidence: list[float], popular: list[int]) -> None:
    counts = [10**power if power else 0 for power in popular]

    class Counted:
        def as_of(self, day_B: torch.Tensor) -> torch.Tensor:
            return torch.tensor([counts], dtype=torch.float32)

    sequences = in_memory.sequences({2: [(A, 0, "test")]})
    score = controls.by_evidence(lambda index: torch.tensor([evidence]), sequences, Counted(), ALL)  # pyright: ignore[reportArgumentType]
    found, level = score(torch.tensor([0]))[0].tolist(), max(map(abs, evidence)) / 4096
    for one in range(ITEMS):
        for other in range(ITEMS):
            if evidence[one] - evidence[other] > 1.01 * level:
                assert found[one] > found[other]
            if evidence[one] > 0 and evidence[other] == 0:
                assert found[one] > found[other]
            if evidence[one] == evidence[other] and counts[one] > counts[other]:
                assert found[one] > found[other]


def test_texts_by_hand() -> None:
    sequences = in_memory.sequences({2: [(C, 0, "train"), (A, 1, "valid"), (D, 2, "test")]})
    found = controls.text(sequences, VECTORS)(torch.tensor([0, 2]))
    assert found[0].tolist() == [0.0] * ITEMS, "no history"
    assert found[1].tolist() == pytest.approx([1, 1, 0, 0, 0.6, 0, 0, 0]), "of A, the last; C before it does not count"


@pytest.mark.parametrize("name", CONTROLS)
def test_what_is_not_offered_never_comes_up(name: str) -> None:
    sequences, offered_V = in_memory.sequences(WORLD), ALL.clone()
    offered_V[[B - FIRST_ID, E - FIRST_ID]] = False  # the most popular, and what followed C
    everything = torch.arange(len(sequences))
    assert (scores(sequences)[name](everything)[:, ~offered_V] > -torch.inf).all()
    found = scores(sequences, offered_V)[name]
    assert (found(everything)[:, ~offered_V] == -torch.inf).all()
    assert found(everything)[:, offered_V].isfinite().all()
    top = evaluation.ranked_catalogue(found, sequences, everything, top=ITEMS).top_BK
    assert not torch.isin(top, torch.tensor([B, E])).any()


@pytest.mark.parametrize("name", CONTROLS)
def test_rows_that_are_scored_together_do_not_matter(name: str) -> None:
    sequences = Sequences.of(in_memory.training_rows(users=30, items=ITEMS, length=6))
    everything = torch.arange(len(sequences))
    score = scores(sequences)[name]
    whole = score(everything)
    mixed = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))
    assert torch.equal(score(mixed), whole[mixed])
    for part in everything.split(7):
        assert torch.equal(score(part), whole[part])


def test_no_training_row_at_all_leaves_nothing_to_tell_items_apart() -> None:
    sequences = in_memory.sequences({2: [(F, 0, "valid"), (G, 1, "test")]})
    for score in scores(sequences).values():
        assert score(torch.tensor([1])).tolist() == [[0.0] * ITEMS]
    masked, unmasked = evaluation.catalogue_ranks(scores(sequences)["transitions"], sequences, torch.tensor([1]))
    assert (masked.tolist(), unmasked.tolist()) == ([ITEMS - 1], [ITEMS]), "equals count as better"


def test_lately_popular_goes_by_thirty_days_and_then_by_all() -> None:
    old = [(A, 1, "train"), (A, 2, "train"), (B, 3, "train"), (D, 4, "train"), (C, 30, "train"), (E, 40, "valid")]
    sequences = in_memory.sequences({2: [*old, (F, 33, "test")], 3: [(B, 32, "train")]})
    found = controls.popular_lately(sequences, Takings(sequences, ITEMS), ALL & (torch.arange(ITEMS) != 3))
    score_V = found(torch.nonzero(sequences.split_N == 2).flatten())[0]
    assert (score_V.argsort(descending=True, stable=True)[:3] + FIRST_ID).tolist() == [B, C, A], "D is not offered"
    assert score_V[E - FIRST_ID] == score_V[F - FIRST_ID] == 0, "what no training row took"


def test_strangers_and_others_are_scored_apart() -> None:
    sequences = in_memory.sequences({2: [(A, 1, "train"), (B, 2, "test")], 3: [(C, 2, "test")]})
    found = controls.to_strangers(
        lambda index_B: torch.ones(len(index_B), 2), lambda index_B: torch.zeros(3, 2), sequences
    )
    assert found(torch.arange(3)).tolist() == [[1, 1], [0, 0], [1, 1]]
