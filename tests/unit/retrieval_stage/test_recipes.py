"""What retrieval's recipes and variants stand for."""

from dataclasses import replace
from math import log

import pytest
import torch

from core.contracts import FIRST_ID
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.loop import optimizer_of
from retrieval_stage.losses import sampled_softmax
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import MODELS
from retrieval_stage.user_tower import UserTower


def of(recipe: str, variant: str = "", *, model: str = "sasrec") -> RetrievalConfig:
    return resolve(model=model, framework="llm-cf", recipe=recipe, seed=1, variant=variant)


@pytest.mark.parametrize("model", MODELS)
def test_strict_adds_the_whole_feature_and_reconstructs_as_the_paper_says(model: str) -> None:
    strict = of("strict", model=model)
    assert (strict.fusion, strict.scale, strict.in_context.alpha) == ("add", 1.0, 1.0)


@pytest.mark.parametrize(("recipe", "variant"), [("paper", ""), ("strict", "code")])
@pytest.mark.parametrize("model", MODELS)
def test_the_published_code_adds_a_tenth_and_but_for_one_reconstructs_nothing(
    model: str, recipe: str, variant: str
) -> None:
    code = of(recipe, variant, model=model)
    fusion, alpha = ("concatenate", 1.0) if model == "youtubednn" else ("add", 0.0)
    assert (code.fusion, code.scale, code.in_context.alpha) == (fusion, 0.1, alpha)


PAPER = {  # as the paper and its authors' code have it (docs/method.md 8)
    "width": 64,
    "negatives": 128,
    "learning_rate": 1e-3,
    "decay": False,
    "weight_decay": 1e-5,
    "beta2": 0.999,
    "epochs": 50,
    "patience": 2,
    "averaging": 0.0,
    "temperature": 1.0,
    "user_in_context": True,
    "item_text": False,
    "item_attributes": False,
    "blended": False,
    "cold_start": False,
}
TWINS = {"none": {"batch": 256, "user_id": False}, "llm-cf": {"batch": 128, "user_id": True}}


@pytest.mark.parametrize("framework", TWINS)
@pytest.mark.parametrize("model", MODELS)
def test_paper_has_the_published_numbers_for_either_twin(model: str, framework: str) -> None:
    config = resolve(model=model, framework=framework, recipe="paper", seed=1)
    expected = PAPER | TWINS[framework]
    assert {name: getattr(config, name) for name in expected} == expected
    context = config.in_context
    assert (context.examples, context.constrained, context.use_similarity, context.gate) == (4, True, False, False)


def test_papers_training_is_that_of_its_numbers() -> None:
    """They reach the optimiser, and 128 negatives and the target are what a position is scored against."""
    config = resolve(model="sasrec", framework="none", recipe="paper", seed=1)
    known = torch.ones(2 + FIRST_ID, dtype=torch.bool)
    tower = UserTower(config, known_U=known, items=300)
    (group,) = optimizer_of(tower).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 1e-5)
    vector_XD, item_VD = torch.zeros(4, 8), torch.randn(298, 8)
    loss = sampled_softmax(vector_XD, item_VD, torch.tensor([0, 1, 2, 3]), config.negatives, torch.Generator())
    assert loss.item() == pytest.approx(log(129), abs=0.01), "of equal scores; a target that was drawn is left out"


def test_strict_trains_the_plain_model_as_its_twin() -> None:
    plain = resolve(model="sasrec", framework="none", recipe="strict", seed=1)
    assert replace(of("strict"), framework="none") == plain
