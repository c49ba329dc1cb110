"""User vectors: equal treatment of both frameworks, unknown users, and what the in-context feature depends on."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from core.contracts import FIRST_ID, PAD, UNKNOWN
from core.errors import UsageError
from ict.examples import Requests
from ict.group import Group
from ict.neighbours import NeighbourConfig, Neighbours, search_exact
from retrieval_stage import evaluation, user_tower
from retrieval_stage.configs import RetrievalConfig, SasRecConfig
from retrieval_stage.loop import in_batches
from retrieval_stage.objective import step_loss
from retrieval_stage.recipes import VARIANTS, resolve
from retrieval_stage.registry import BACKBONES
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

USERS, ITEMS = 12, 30
ROWS = in_memory.training_rows(users=USERS, items=ITEMS, length=10)
SEQUENCES = Sequences.of(ROWS)
EXAMPLES = in_memory.example_set(ROWS)


def config_of(framework: str, recipe: str = "strict") -> RetrievalConfig:
    config = resolve(model="sasrec", framework=framework, recipe=recipe, seed=1)
    return replace(config, width=16, backbone=SasRecConfig(dropout=0.0), positions=1.0)


def tower_of(config: RetrievalConfig, offered_V: torch.Tensor | None = None) -> UserTower:
    torch.manual_seed(3)
    known = torch.ones(USERS + FIRST_ID, dtype=torch.bool)
    known[5] = False
    examples = EXAMPLES if config.framework == "llm-cf" else None
    return UserTower(
        config,
        known_U=known,
        items=ITEMS + FIRST_ID,
        examples=examples,
        offered_V=offered_V,
        facts=in_memory.item_facts(items=ITEMS),
    )


@pytest.fixture(scope="module")
def shown() -> Neighbours:
    config = NeighbourConfig(stage="retrieval", recipe="strict", seed=1)
    examples, similarity = search_exact(EXAMPLES, Requests.of(ROWS), config)
    return Neighbours(examples[SEQUENCES.row_N], similarity[SEQUENCES.row_N])


def vectors(tower: UserTower, shown: Neighbours, index: torch.Tensor) -> torch.Tensor:
    tower.eval()
    tower.freeze_examples()
    rows = (SEQUENCES.user_N, SEQUENCES.history_NL, shown.examples_NK, shown.similarity_NK)
    with torch.no_grad():
        return tower(*(values[index] for values in rows))


def test_without_w_both_frameworks_minimise_the_same_loss(shown: Neighbours) -> None:
    config = config_of("llm-cf")
    silent = replace(config, scale=0.0, in_context=replace(config.in_context, alpha=0.0))
    plain, enhanced = tower_of(config_of("none")), tower_of(silent)
    enhanced.load_state_dict(plain.state_dict(), strict=False)
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    losses = [step_loss(t, SEQUENCES, shown, ends, torch.Generator().manual_seed(5)) for t in (plain, enhanced)]
    assert_close(losses[0], losses[1])


class Mean(torch.nn.Module):
    """A backbone that is not causal: after every position the mean of all, its own and later items included."""

    causal = False

    def forward(self, item_BLD: torch.Tensor, history_BL: torch.Tensor, user_BD: torch.Tensor) -> torch.Tensor:
        """Return (B, L, D)."""
        there_BL1 = (history_BL != PAD).unsqueeze(2)
        mean_BD = (item_BLD * there_BL1).sum(dim=1) / there_BL1.sum(dim=1).clamp(min=1)
        return (mean_BD + user_BD)[:, None].expand_as(item_BLD)


def test_a_backbone_that_is_not_causal_is_trained_on_the_prefix_of_each_position(shown: Neighbours) -> None:
    config = replace(config_of("none"), unknown_user=0.0, unknown_item=0.0, user_id=True)
    tower, ends = tower_of(config), SEQUENCES.windows(torch.Generator().manual_seed(0))
    tower.backbone = Mean()
    loss = step_loss(tower, SEQUENCES, shown, ends, torch.Generator().manual_seed(5))
    rows = SEQUENCES.rows_of_window(ends)[SEQUENCES.targets(ends) != PAD]
    user_XD = tower.users(SEQUENCES.user_N[rows])
    vector_XD = Mean()(tower.item(SEQUENCES.history_NL[rows]), SEQUENCES.history_NL[rows], user_XD)[:, -1] + user_XD
    scores_XV = vector_XD @ tower.item_vectors().T
    assert_close(loss, torch.nn.functional.cross_entropy(scores_XV, SEQUENCES.item_N[rows] - FIRST_ID))


@pytest.mark.parametrize("model", ["sasrec", "srgnn"])
def test_examples_of_like_length_are_encoded_together_and_each_as_it_would_be_alone(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_tower, "_CHUNK", 7)
    tower = tower_of(replace(config_of("llm-cf"), model=model, backbone=BACKBONES[model].config()))
    tower.encode_examples()
    assert tower.context is not None
    context, lengths = tower.context, (tower.context.history_ML != PAD).sum(dim=1)
    assert len(lengths.unique()) > 1 and len(lengths) > 7 and (lengths != lengths.sort().values).any()
    with torch.no_grad():
        alone_MD = tower.eval().states(context.history_ML, tower.users(context.user_M))[:, -1]
    assert_close(context.state_MD, alone_MD)


@pytest.mark.parametrize("variant", ["", "user"])
def test_who_asks_is_not_read_but_in_that_variant(shown: Neighbours, variant: str) -> None:
    tower = tower_of(VARIANTS[variant](config_of("llm-cf")))
    rows = torch.arange(len(SEQUENCES.user_N))
    before = vectors(tower, shown, rows)
    with torch.no_grad():
        tower.user.weight[FIRST_ID:] += 1.0
    assert torch.equal(before, vectors(tower, shown, rows)) == (not variant)


@pytest.mark.parametrize("recipe", ["strict", "paper", "best"])
def test_the_feature_learns_through_the_loss(shown: Neighbours, recipe: str) -> None:
    tower = tower_of(config_of("llm-cf", recipe))
    tower.encode_examples()
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    step_loss(tower, SEQUENCES, shown, ends, torch.Generator().manual_seed(5)).backward()
    idle = {name for name, weight in tower.named_parameters() if weight.grad is None or not weight.grad.any()}
    rests = {name for name in idle if recipe != "paper" or "reconstruct" not in name}  # whose alpha is 0
    users = {name for name in rests if name.startswith("user.")}
    assert bool(users) == (recipe != "paper"), "nothing reads them"
    assert rests - users == {"context.ict.no_example"}, "masked wherever it stands"


@pytest.mark.parametrize("name", ["none", "llm-cf"])
def test_trimmed_windows_have_the_same_loss(shown: Neighbours, name: str) -> None:
    config = replace(config_of(name), unknown_user=0.0, unknown_item=0.0)
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    short = ends[SEQUENCES.position_N[ends] < 7]
    losses = []
    for trimmed in (False, True):
        tower = tower_of(replace(config, trimmed=trimmed))
        losses.append(step_loss(tower, SEQUENCES, shown, short, torch.Generator().manual_seed(5)))
    assert_close(losses[0], losses[1])


def test_scores_are_divided_by_the_temperature_in_training_alone(shown: Neighbours) -> None:
    plain, cool = (tower_of(replace(config_of("none"), temperature=t)) for t in (1.0, 0.5))
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    losses = [step_loss(t, SEQUENCES, shown, ends, torch.Generator().manual_seed(5)).item() for t in (plain, cool)]
    assert losses[0] != pytest.approx(losses[1], abs=1e-4)
    index = SEQUENCES.of_split("test")
    assert_close(vectors(plain, shown, index), vectors(cool, shown, index))


def test_the_reconstruction_loss_is_added_where_alpha_asks_for_it(shown: Neighbours) -> None:
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    losses = []
    for alpha in (0.0, 0.5, 1.0):
        config = replace(config_of("llm-cf"), scale=0.0)  # with a head more, the module is drawn anew
        tower = tower_of(replace(config, in_context=replace(config.in_context, alpha=alpha)))
        tower.encode_examples()
        losses.append(step_loss(tower, SEQUENCES, shown, ends, torch.Generator().manual_seed(5)))
    added = (losses[2] - losses[0]).item()
    assert added == pytest.approx(2 * (losses[1] - losses[0]).item(), rel=1e-3)
    assert 0.2 < added < 2, "1 - cosine"
    losses[2].backward()


@pytest.mark.parametrize("model", ["sasrec", "srgnn"])
def test_the_parts_of_two_processes_have_the_loss_of_one_as_their_mean(shown: Neighbours, model: str) -> None:
    config = resolve(model=model, framework="llm-cf", recipe="strict", seed=1)
    config = replace(config, width=16, backbone=replace(config.backbone, dropout=0.0), positions=0.5)
    tower = tower_of(config)
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    ends = ends[: len(ends) // 2 * 2]
    groups = (Group(), Group(rank=0, size=2), Group(rank=1, size=2))
    whole, *parts = (
        step_loss(tower, SEQUENCES, shown, ends, torch.Generator().manual_seed(5), group).item() for group in groups
    )
    assert sum(parts) / 2 == pytest.approx(whole, rel=1e-5)
    assert parts[0] != pytest.approx(parts[1], rel=1e-3)


@pytest.mark.parametrize("trimmed", [False, True])
def test_no_batch_has_fewer_windows_than_there_are_processes(trimmed: bool) -> None:
    config = replace(config_of("none"), batch=4, trimmed=trimmed)
    generator = torch.Generator().manual_seed(0)
    ends = SEQUENCES.windows(generator)[:9]
    sizes = [sorted(map(len, in_batches(SEQUENCES, ends, config, generator, least=n))) for n in (1, 2)]
    assert sizes == [[1, 4, 4], [4, 4]]


def test_a_user_without_training_rows_is_the_unknown_user(shown: Neighbours) -> None:
    tower = tower_of(config_of("none")).eval()
    same = tower.users(torch.tensor([5, UNKNOWN, USERS + FIRST_ID, 10**9]))
    assert_close(same, same[1].expand(4, -1))
    assert not torch.allclose(tower.users(torch.tensor([6])), same[1])


def test_every_position_of_a_window_is_shown_strictly_earlier_examples_only(shown: Neighbours) -> None:
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    rows = SEQUENCES.rows_of_window(ends)[SEQUENCES.targets(ends) != PAD]
    day = torch.from_numpy(ROWS["day"].to_numpy().astype("int64"))[SEQUENCES.row_N[rows]]
    examples = shown.examples_NK[rows]
    assert (examples > 0).any()
    assert (EXAMPLES.day_M[examples] < day[:, None])[examples > 0].all()


def test_w_reads_the_examples_and_frozen_tokens_follow_the_weights(shown: Neighbours) -> None:
    tower, index = tower_of(config_of("llm-cf")), SEQUENCES.of_split("test")
    assert (shown.examples_NK[index] > 0).any(dim=1).all()
    before = vectors(tower, shown, index)
    assert tower.context is not None
    tower.context.cot_ME = tower.context.cot_ME.roll(1, dims=1)
    after = vectors(tower, shown, index)
    assert not torch.isclose(before, after, atol=1e-6).all(dim=1).any()


def test_the_similarity_is_read_by_best_only(shown: Neighbours) -> None:
    index = SEQUENCES.of_split("test")
    other = Neighbours(shown.examples_NK, shown.similarity_NK + 1)
    for recipe, moves in (("strict", False), ("best", True)):
        tower = tower_of(config_of("llm-cf", recipe))
        assert torch.allclose(vectors(tower, shown, index), vectors(tower, other, index)) is not moves


def test_vectors_do_not_depend_on_the_batch(shown: Neighbours) -> None:
    tower, index = tower_of(config_of("llm-cf", "best")), SEQUENCES.of_split("valid")
    alone = torch.cat([vectors(tower, shown, index[i : i + 1]) for i in range(len(index))])
    assert_close(vectors(tower, shown, index), alone, atol=1e-5, rtol=1e-5)


def test_the_plain_twin_of_the_paper_differs_as_published_and_that_of_strict_does_not() -> None:
    for recipe, same in (("strict", True), ("best", True), ("paper", False)):
        plain, enhanced = (resolve(model="sasrec", framework=f, recipe=recipe, seed=1) for f in ("none", "llm-cf"))
        assert (replace(plain, framework="llm-cf") == enhanced) is same


@pytest.mark.parametrize(("name", "value"), [("model", "bert"), ("framework", "kd"), ("recipe", "fast")])
def test_unknown_names_list_the_choices(name: str, value: str) -> None:
    names = {"model": "sasrec", "framework": "none", "recipe": "strict", name: value}
    with pytest.raises(UsageError, match=f"unknown .*'{value}'; choose one of"):
        resolve(model=names["model"], framework=names["framework"], recipe=names["recipe"], seed=1)


@pytest.mark.parametrize("negatives", [0, 50])
def test_what_is_not_offered_is_no_negative_and_is_not_ranked(shown: Neighbours, negatives: int) -> None:
    """Rows of another shop lie before, between and after those of this one; without them all is the same."""
    config = replace(config_of("none"), negatives=negatives, unknown_item=0.0)
    wide = 2 * ITEMS + 3
    offered = torch.zeros(wide, dtype=torch.bool)
    moved = torch.arange(ITEMS) * 2 + 1  # where this shop's items lie in the wide table
    offered[moved] = True
    place = torch.cat([torch.arange(FIRST_ID), moved + FIRST_ID])
    sparse = replace(SEQUENCES, item_N=place[SEQUENCES.item_N], history_NL=place[SEQUENCES.history_NL])
    dense_tower = tower_of(config)
    torch.manual_seed(3)
    known = dense_tower.known_U
    sparse_tower = UserTower(config, known_U=known, items=wide + FIRST_ID, offered_V=offered)
    state = dense_tower.state_dict()
    (name,) = (name for name in state if name.startswith("item."))
    table = torch.randn(wide + FIRST_ID, config.width)
    table[place] = state[name]
    sparse_tower.load_state_dict(state | {name: table})
    ends = SEQUENCES.windows(torch.Generator().manual_seed(0))
    pairs = ((dense_tower, SEQUENCES), (sparse_tower, sparse))
    losses = [step_loss(tower, rows, shown, ends, torch.Generator().manual_seed(5)) for tower, rows in pairs]
    assert_close(losses[0], losses[1])
    losses[1].backward()
    assert sparse_tower.item.weight.grad is not None
    assert not sparse_tower.item.weight.grad[FIRST_ID:][~offered].any()
    test = SEQUENCES.of_split("test")
    for tower, _ in pairs:
        tower.eval()
    ranks = [evaluation.catalogue_ranks(evaluation.by_tower(t, rows, shown), rows, test) for t, rows in pairs]
    for of_dense, of_sparse in zip(*ranks, strict=True):
        assert of_dense.tolist() == of_sparse.tolist()
