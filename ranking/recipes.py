"""What names stand for: a recipe and a variant are functions from a configuration to the whole of another.

All frameworks of a recipe get the same backbone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from core.contracts import COT_CONTROLS, FRAMEWORKS, SEQUENCE
from core.errors import UsageError, check_choice
from core.settings import Workspace
from ict.config import PRECISIONS as COMPUTED
from ict.config import IctConfig, restored
from ranking.configs import BackboneConfig, RankerConfig, XDeepFmConfig
from ranking.registry import BACKBONES, MODELS

PRECISIONS = ("auto", *COMPUTED)
Recipe = Callable[[RankerConfig], RankerConfig]
Variant = Callable[[IctConfig], IctConfig]


def strict(config: RankerConfig) -> RankerConfig:
    return config


def paper(config: RankerConfig) -> RankerConfig:
    """As published."""
    return replace(config, batch=1024, learning_rate=8e-3, averaging=0.0)


def best(config: RankerConfig) -> RankerConfig:
    """With all that helps and leaks nothing."""
    return replace(
        config,
        epochs=8,
        batch=1024,
        learning_rate=4e-3,
        averaging=0.995,
        dense=True,
        text_match=True,
        redraw=True,
        softmax=0.1,
        in_context=replace(config.in_context, use_similarity=True, gate=True, alpha=0.1),
    )


RECIPES: dict[str, Recipe] = {"strict": strict, "paper": paper, "best": best}


def whole(ict: IctConfig) -> IctConfig:
    return ict


def no_text(ict: IctConfig) -> IctConfig:
    return replace(ict, use_text=False)


def no_cot(ict: IctConfig) -> IctConfig:
    return replace(ict, use_cot=False)


def of_set(name: str) -> Variant:
    """The same rows with other texts."""
    return lambda ict: replace(ict, cot_set=name)


def no_decoder(ict: IctConfig) -> IctConfig:
    return replace(ict, pooling="mean")


def similarities(ict: IctConfig) -> IctConfig:
    """A yardstick that does not read its examples."""
    return replace(ict, pooling="similarities", use_similarity=True, use_text=False, use_cot=False)


def examples_dropped(ict: IctConfig) -> IctConfig:
    """A tenth of the rows train the w of a request that finds no examples, as where a service has lost them."""
    return replace(ict, example_dropout=0.1)


def unconstrained(ict: IctConfig) -> IctConfig:
    """The nearest examples, whatever their label."""
    return replace(ict, constrained=False)


def shown(count: int) -> Variant:
    """Another number of examples."""
    return lambda ict: replace(ict, examples=count)


# Of LLM-CF: the ablations of Table 5, the yardstick, the controls of the texts, their number, the sweep of Figure 5.
GROWTH = ("m1000", "m5000", "m15000", "tenth")  # sets of so many texts, and of the paper's one row in ten
TOLD = "paper"  # texts of a model that was told the label
VARIANTS: dict[str, Variant] = {
    "": whole,
    "no-text": no_text,
    "no-cot": no_cot,
    "no-recgen": of_set("base"),  # texts of the model as it was before tuning
    "no-decoder": no_decoder,
    "similarities": similarities,
    **{name: of_set(name) for name in COT_CONTROLS},
    **{name: of_set(name) for name in (*GROWTH, TOLD)},
    **{f"k{count}": shown(count) for count in (0, 2, 6, 8)},
    "k4-unconstrained": unconstrained,
    "examples-dropped": examples_dropped,
}


def dated_scores(config: RankerConfig) -> RankerConfig:
    """A sequence model's score as one more number; of strictly earlier days, so `best` may read it."""
    return replace(config, sequence=True)


# Of every framework: what is read beside the numbers of recipe best.
READ: dict[str, Recipe] = {SEQUENCE: dated_scores}
EVERY_VARIANT = (*VARIANTS, *READ)


def variants_of(framework: str) -> tuple[str, ...]:
    """The variants that a framework has."""
    return EVERY_VARIANT if "llm-cf" in framework else ("", *READ)


def resolve(
    ws: Workspace,
    *,
    model: str,
    framework: str,
    recipe: str,
    seed: int,
    epochs: int | None = None,
    variant: str = "",
    precision: str = "auto",
    cot_set: str = "",
) -> RankerConfig:
    """The configuration of a named run; it depends on nothing but these names.

    Precision `auto` is float32, so that a result does not depend on which processor a job met.

    Args:
        epochs: instead of the recipe's.
        cot_set: which set of texts it reads, where no variant names another; `runs.told_set` says what there is.

    Raises:
        UsageError: for an unknown name or an impossible number, with the choices.
    """
    _check(model, framework, recipe, variant, precision)
    if epochs is not None and epochs < 1:
        raise UsageError(f"--epochs {epochs} is not at least 1")
    precision = "float32" if precision == "auto" else precision
    plain = RankerConfig(
        dataset=ws.dataset,
        order=ws.order,
        model=model,
        framework=framework,
        recipe=recipe,
        seed=seed,
        variant=variant,
        in_context=IctConfig(cot_set=cot_set, precision=precision),
        backbone=_computed_in(precision, BACKBONES[model].config()),
    )
    config = BACKBONES[model].tuned(RECIPES[recipe](plain))
    if variant in READ:
        config = READ[variant](config)
    else:
        config = replace(config, in_context=VARIANTS[variant](config.in_context))
    return config if epochs is None else replace(config, epochs=epochs)


def _check(model: str, framework: str, recipe: str, variant: str, precision: str) -> None:
    check_choice("model", model, MODELS)
    check_choice("framework", framework, FRAMEWORKS)
    check_choice("recipe", recipe, RECIPES)
    check_choice("variant", variant, EVERY_VARIANT)
    check_choice("precision", precision, PRECISIONS)
    if variant not in variants_of(framework):
        raise UsageError(f"the variant {variant!r} is one of LLM-CF; the framework {framework!r} has none")
    if variant in READ and recipe != "best":
        raise UsageError(
            f"the variant {variant!r} adds to the numbers of recipe best; the recipe {recipe!r} reads none"
        )


def _computed_in(precision: str, backbone: BackboneConfig) -> BackboneConfig:
    return replace(backbone, precision=precision) if isinstance(backbone, XDeepFmConfig) else backbone


def from_json(stored: dict[str, Any]) -> RankerConfig:
    """The configuration that a finished run's stamp, or a line of results, holds."""
    parts = {
        "backbone": restored(BACKBONES[stored["model"]].config, stored["backbone"]),
        "in_context": restored(IctConfig, stored["in_context"]),
    }
    return restored(RankerConfig, stored | parts)
