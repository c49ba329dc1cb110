"""Hyper-parameters of a ranking run, resolved from its names. Both frameworks of a recipe get the same."""

from dataclasses import dataclass, field, replace
from typing import Any

from core.contracts import EXAMPLES, FRAMEWORKS, RECIPES, WIDTH
from core.errors import UsageError, check_choice
from core.settings import Workspace

MODELS = ("deepfm",)  # the names in ranking.registry


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepFmConfig:
    tower: tuple[int, ...] = (200, 80)
    dropout: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerConfig:
    dataset: str
    order: str
    model: str
    framework: str
    recipe: str
    seed: int
    epochs: int = 4
    patience: int = 1  # epochs without a better validation AUC
    batch: int = 1024
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    id_dropout: float = 0.01
    width: int = WIDTH
    examples: int = EXAMPLES
    alpha: float = 1.0
    dense: bool = False  # the as-of features of contracts.DENSE
    use_similarity: bool = False
    backbone: DeepFmConfig = field(default_factory=DeepFmConfig)

    @property
    def in_context(self) -> bool:
        return self.framework == "llm-cf"


def resolve(
    ws: Workspace, *, model: str, framework: str, recipe: str, seed: int, epochs: int | None = None
) -> RankerConfig:
    """The configuration of a named run.

    Raises:
        UsageError: for an unknown name or an impossible number, with the choices.
    """
    check_choice("model", model, MODELS)
    check_choice("framework", framework, FRAMEWORKS)
    check_choice("recipe", recipe, RECIPES)
    if epochs is not None and epochs < 1:
        raise UsageError(f"--epochs {epochs} is not at least 1")
    best = recipe == "best"
    config = RankerConfig(
        dataset=ws.dataset,
        order=ws.order,
        model=model,
        framework=framework,
        recipe=recipe,
        seed=seed,
        dense=best,
        use_similarity=best,
    )
    return config if epochs is None else replace(config, epochs=epochs)


def from_json(stored: dict[str, Any]) -> RankerConfig:
    """The configuration that a finished run's stamp holds."""
    backbone = stored["backbone"]
    restored = DeepFmConfig(tower=tuple(backbone["tower"]), dropout=backbone["dropout"])
    return RankerConfig(**{**stored, "backbone": restored})
