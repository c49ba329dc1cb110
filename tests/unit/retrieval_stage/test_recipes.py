"""What retrieval's recipes and variants stand for."""

from dataclasses import replace

import pytest

from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import MODELS


def of(recipe: str, variant: str = "", *, model: str = "sasrec") -> RetrievalConfig:
    return resolve(model=model, framework="llm-cf", recipe=recipe, seed=1, variant=variant)


@pytest.mark.parametrize("model", MODELS)
def test_strict_adds_the_whole_feature_and_reconstructs_as_the_paper_says(model: str) -> None:
    strict = of("strict", model=model)
    assert (strict.fusion, strict.scale, strict.in_context.alpha) == ("add", 1.0, 1.0)


@pytest.mark.parametrize(("recipe", "variant"), [("paper", ""), ("strict", "code")])
@pytest.mark.parametrize("model", MODELS)
def test_the_published_code_adds_a_tenth_and_reconstructs_nothing(model: str, recipe: str, variant: str) -> None:
    code = of(recipe, variant, model=model)
    fusion = "concatenate" if model == "youtubednn" else "add"
    assert (code.fusion, code.scale, code.in_context.alpha) == (fusion, 0.1, 0.0)


def test_strict_trains_the_plain_model_as_its_twin() -> None:
    plain = resolve(model="sasrec", framework="none", recipe="strict", seed=1)
    assert replace(of("strict"), framework="none") == plain
