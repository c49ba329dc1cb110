"""Hyper-parameters of the retrieval stage: one frozen dataclass, resolved from a recipe's name.

`strict` trains the plain model and LLM-CF alike, the user's id included. `paper` repeats the published set-up: sampled
softmax, and a plain twin with another batch size and no user id.
"""

from dataclasses import dataclass, replace

from core.contracts import RECIPES, RETRIEVAL_FRAMEWORKS, RETRIEVAL_WIDTH
from core.errors import check_choice

MODELS = ("sasrec",)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """Everything that decides a training run, beside the data."""

    model: str
    framework: str
    recipe: str
    seed: int
    # backbone
    width: int = RETRIEVAL_WIDTH
    layers: int = 2
    heads: int = 1
    dropout: float = 0.2
    # user vector
    user_id: bool = True  # add the user's own embedding to the backbone's state
    unknown_user: float = 0.05  # share of ids hidden in training, so that the UNKNOWN row is trained
    unknown_item: float = 0.01
    # objective
    negatives: int = 0  # uniform negatives of the sampled softmax; 0 is the softmax over the whole catalogue
    # training
    batch: int = 128  # windows
    learning_rate: float = 5e-3
    decay: bool = True  # the rate falls linearly, to nothing after the last epoch
    weight_decay: float = 0.0
    epochs: int = 15
    patience: int = 5  # epochs without a better HIT@10 on validation
    # in-context feature
    scale: float = 0.1  # of w, when it is added to the user vector
    gate: bool = False  # a learned gate on w instead
    use_similarity: bool = False
    positions: float = 0.25  # share of a step's positions at which w is computed
    refresh: int = 8  # steps between two encodings of the examples' histories

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.model}-{self.framework}-{self.recipe}-s{self.seed}"

    @property
    def uses_examples(self) -> bool:
        return self.framework == "llm-cf"


def resolve(*, model: str, framework: str, recipe: str, seed: int, epochs: int | None = None) -> RetrievalConfig:
    """The configuration of a named recipe; `epochs` overrides its number.

    Raises:
        UsageError: if a name is unknown.
    """
    check_choice("retrieval model", model, MODELS)
    check_choice("framework", framework, RETRIEVAL_FRAMEWORKS)
    check_choice("recipe", recipe, RECIPES)
    config = RetrievalConfig(model=model, framework=framework, recipe=recipe, seed=seed)
    if recipe == "paper":
        config = _as_published(config)
    if recipe == "best":
        config = replace(config, gate=True, use_similarity=True)
    return config if epochs is None else replace(config, epochs=epochs)


def _as_published(config: RetrievalConfig) -> RetrievalConfig:
    return replace(
        config,
        user_id=False,
        negatives=128,
        learning_rate=1e-3,
        decay=False,
        weight_decay=1e-5,
        batch=256 if config.framework == "none" else 128,
        epochs=50,
        patience=2,
    )
