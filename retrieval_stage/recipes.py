"""What names stand for: a recipe is a function from a configuration to the whole of another.

`strict` trains the plain model and LLM-CF alike; w is added to the user vector and the examples' texts are
reconstructed, as the paper says, and neither reads the user's own embedding, which learns users by heart. `paper`
repeats what the published code does: sampled softmax, a tenth of w, no reconstruction but in YoutubeDNN, a plain twin
with another batch size and no user id. `best` is what measured best on Amazon Beauty, knob by knob
(benchmarks/results/retrieval_knobs.md).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from core.contracts import RETRIEVAL_FRAMEWORKS
from core.errors import UsageError, check_choice
from ict.config import PRECISIONS, IctConfig, restored
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.registry import BACKBONES, MODELS


def strict(config: RetrievalConfig) -> RetrievalConfig:
    return replace(config, user_in_context=False)


def paper(config: RetrievalConfig) -> RetrievalConfig:
    """As published."""
    return replace(
        code(config),
        user_id=config.framework != "none",
        negatives=128,
        learning_rate=1e-3,
        decay=False,
        weight_decay=1e-5,
        batch=256 if config.framework == "none" else 128,
        epochs=50,
        patience=2,
    )


def best(config: RetrievalConfig) -> RetrievalConfig:
    """Items are their texts and attributes too; a gate on w, the similarity of each example; what needs no training
    in the scores, and cold starts."""
    return replace(
        strict(config),
        item_text=True,
        item_attributes=True,
        blended=True,
        cold_start=True,
        fusion="gate",
        in_context=replace(config.in_context, use_similarity=True),
    )


RECIPES: dict[str, Callable[[RetrievalConfig], RetrievalConfig]] = {"strict": strict, "paper": paper, "best": best}


Variant = Callable[[RetrievalConfig], RetrievalConfig]


def whole(config: RetrievalConfig) -> RetrievalConfig:
    """LLM-CF as it is."""
    return config


def code(config: RetrievalConfig) -> RetrievalConfig:
    """Fused as in the authors' code: a tenth of w is added and nothing reconstructed; YoutubeDNN concatenates, and
    reconstructs."""
    if config.model == "youtubednn":
        return replace(config, fusion="concatenate", scale=0.1)
    return replace(config, fusion="add", scale=0.1, in_context=replace(config.in_context, alpha=0.0))


def no_cot(config: RetrievalConfig) -> RetrievalConfig:
    """Examples and labels without chains of thought."""
    return replace(config, in_context=replace(config.in_context, use_cot=False))


def user(config: RetrievalConfig) -> RetrievalConfig:
    """Representations with the user's own embedding, as the paper and its code have them."""
    return replace(config, user_in_context=True)


VARIANTS: dict[str, Variant] = {"": whole, "user": user, "code": code, "no-cot": no_cot}  # of LLM-CF


def resolve(
    *,
    model: str,
    framework: str,
    recipe: str,
    seed: int,
    epochs: int | None = None,
    variant: str = "",
    precision: str = "auto",
) -> RetrievalConfig:
    """The configuration of a named run; `epochs` overrides the recipe's.

    Precision `auto` is float32, so that a result does not depend on which processor a job met.

    Raises:
        UsageError: for an unknown name or an impossible number, with the choices.
    """
    check_choice("retrieval model", model, MODELS)
    check_choice("framework", framework, RETRIEVAL_FRAMEWORKS)
    check_choice("recipe", recipe, RECIPES)
    check_choice("variant", variant, VARIANTS)
    check_choice("precision", precision, ("auto", *PRECISIONS))
    if variant and framework == "none":
        raise UsageError(f"the variant {variant!r} is one of LLM-CF; the framework {framework!r} has none")
    if epochs is not None and epochs < 1:
        raise UsageError(f"--epochs {epochs} is not at least 1")
    backbone = BACKBONES[model].config()
    precision = "float32" if precision == "auto" else precision
    plain = RetrievalConfig(
        model=model,
        framework=framework,
        recipe=recipe,
        seed=seed,
        variant=variant,
        backbone=backbone,
        precision=precision,
        in_context=IctConfig(precision=precision),
    )
    config = VARIANTS[variant](RECIPES[recipe](plain))
    return config if epochs is None else replace(config, epochs=epochs)


def from_json(stored: dict[str, Any]) -> RetrievalConfig:
    """The configuration that a finished run's stamp holds."""
    parts = {
        "backbone": restored(BACKBONES[stored["model"]].config, stored.get("backbone", {})),
        "in_context": restored(IctConfig, stored.get("in_context", {})),
    }
    return restored(RetrievalConfig, stored | parts)
