"""Hyper-parameters of a ranking run, resolved from its names. All frameworks of a recipe get the same backbone."""

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from core.contracts import EXAMPLES, FRAMEWORKS, RECIPES, WIDTH
from core.errors import UsageError, check_choice
from core.settings import Workspace

if TYPE_CHECKING:
    from ict.neighbours import NeighbourConfig

Tower = tuple[int, ...]
TOWER: Tower = (200, 80)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepFmConfig:
    tower: Tower = TOWER
    dropout: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class XDeepFmConfig:
    tower: Tower = TOWER
    dropout: float = 0.1
    maps: Tower = (100, 100, 100)
    precision: str = "float32"  # of the products of the interaction network in training
    vector_scale: float = 0.1  # of an added vector in the interaction network, when training starts


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoIntConfig:
    tower: Tower = TOWER
    dropout: float = 0.1
    attention: int = 64  # width of all heads
    heads: int = 2
    layers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DcnConfig:
    tower: Tower = TOWER
    dropout: float = 0.1
    layers: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DcnV2Config:
    tower: Tower = TOWER
    dropout: float = 0.1
    layers: int = 2
    experts: int = 4
    rank: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DinConfig:
    tower: Tower = TOWER
    dropout: float = 0.1
    attention: Tower = (64, 16)


Backbone = DeepFmConfig | XDeepFmConfig | AutoIntConfig | DcnConfig | DcnV2Config | DinConfig
BACKBONES: dict[str, type[Backbone]] = {
    "deepfm": DeepFmConfig,
    "xdeepfm": XDeepFmConfig,
    "autoint": AutoIntConfig,
    "dcn": DcnConfig,
    "dcnv2": DcnV2Config,
    "din": DinConfig,
}
MODELS = tuple(BACKBONES)
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class InContextConfig:
    """LLM-CF's module. Everything here is a knob of the paper's ablations, or of recipe `best`.

    Args:
        examples: K; half positives, half negatives, unless `constrained` is off.
        cot_set: which set of texts; "" is the workspace's main one.
        use_text: read the texts of the items and of the history.
        use_cot: read the chains of thought, and reconstruct them.
        use_similarity: add each example's similarity to its token.
        pooling: `decoder`, `mean` of the examples' tokens, or `similarities` alone.
        alpha: weight of the reconstruction loss; 1 was better on validation than 0.2 (`strict`), 0.1 as good (`best`).
        gate: multiply w by a learned gate.
        precision: in which training multiplies text vectors; bfloat16 pays on processors that have it.
    """

    examples: int = EXAMPLES
    constrained: bool = True
    cot_set: str = ""
    layers: int = 2
    heads: int = 2
    alpha: float = 1.0
    use_text: bool = True
    use_cot: bool = True
    use_similarity: bool = False
    pooling: str = "decoder"
    gate: bool = False
    precision: str = "float32"


# Of LLM-CF: the ablations of Table 5, a yardstick that does not read its examples, the sweep of Figure 5.
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "no-text": {"use_text": False},
    "no-cot": {"use_cot": False},
    "no-recgen": {"cot_set": "base"},
    "no-decoder": {"pooling": "mean"},
    "similarities": {"pooling": "similarities", "use_similarity": True, "use_text": False, "use_cot": False},
    **{f"k{count}": {"examples": count} for count in (0, 2, 6, 8)},
    "k4-unconstrained": {"constrained": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerConfig:
    """Everything that decides a run, beside the data.

    Args:
        variant: what is changed in LLM-CF, one of VARIANTS.
        patience: epochs without a better validation AUC before training stops.
        weight_decay: of the embeddings and the backbone.
        added_decay: of the weights that a framework adds.
        averaging: what is judged and kept are moving averages of the weights, of which each step keeps this share; 0
            for the weights themselves.
        sparse_rows_from: tables of at least so many rows are trained row by row (ranking/big_tables.py); 0 for none.
        sparse_rate: learning rate of these.
        sparse_decay: of an epoch in which it is not looked up, a row keeps exp(-sparse_decay).
        dense: read the as-of features of `contracts.DENSE`.
        text_match: read the features of `text_match.TEXT_MATCH`.
        redraw: take another of the prepared negatives of each training row in every epoch.
        softmax: weight of the matching loss, whose score joins the dense features; 0 for no matching at all.
        distil: weight of the loss against the teacher's P(Yes), where it is known.
        teacher: which folder of scores/ distillation reads.
    """

    dataset: str
    order: str
    model: str
    framework: str
    recipe: str
    seed: int
    variant: str = ""
    epochs: int = 30
    patience: int = 2
    batch: int = 2048
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    added_decay: float = 1e-4
    averaging: float = 0.99
    sparse_rows_from: int = 1_000_000
    sparse_rate: float = 0.05
    sparse_decay: float = 3.0
    id_dropout: float = 0.01
    width: int = WIDTH
    dense: bool = False
    text_match: bool = False
    redraw: bool = False
    softmax: float = 0.0
    distil: float = 0.1
    teacher: str = "recgen-s2023"
    in_context: InContextConfig = field(default_factory=InContextConfig)
    backbone: Backbone = field(default_factory=DeepFmConfig)

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return "-".join(filter(None, (self.model, self.framework, self.recipe, self.variant, f"s{self.seed}")))

    @property
    def decisive(self) -> "RankerConfig":
        """The same without the knobs of what its framework does not read: two runs equal in this are one."""
        kept = self if self.uses_teacher else replace(self, distil=_DEFAULT.distil, teacher=_DEFAULT.teacher)
        return kept if self.uses_examples else replace(kept, in_context=_DEFAULT.in_context)

    @property
    def uses_examples(self) -> bool:
        return "llm-cf" in self.framework

    @property
    def uses_teacher(self) -> bool:
        return "kd" in self.framework

    @property
    def uses_knowledge(self) -> bool:
        return self.framework == "kar"

    @property
    def text_set(self) -> str:
        """The set of texts whose vectors it reads."""
        return self.in_context.cot_set if self.uses_examples else ""

    @property
    def neighbours(self) -> "NeighbourConfig":
        """How the examples of its rows are chosen."""
        from ict.neighbours import NeighbourConfig

        how = self.in_context
        return NeighbourConfig(
            stage="ranking",
            recipe=self.recipe,
            seed=self.seed,
            count=how.examples,
            constrained=how.constrained,
            cot_set=how.cot_set,
        )


_DEFAULT = RankerConfig(dataset="", order="", model="", framework="none", recipe="", seed=0)
_OF_RECIPE: dict[str, dict[str, Any]] = {
    "strict": {},
    "paper": {"batch": 1024, "learning_rate": 8e-3, "averaging": 0.0},
    "best": {
        "epochs": 8,
        "batch": 1024,
        "learning_rate": 4e-3,
        "averaging": 0.995,
        "dense": True,
        "text_match": True,
        "redraw": True,
        "softmax": 0.1,
    },
}
# With 1e-4, xDeepFM's products of four fields overfit within three epochs, and DIN's attention ended far apart by seed;
# for DeepFM, DCN and DCNv2 2e-4 is too much. DIN's validation AUC then rises for long, with dips.
_OF_MODEL: dict[str, dict[str, Any]] = {
    "xdeepfm": {"weight_decay": 3e-4},
    "din": {"weight_decay": 2e-4, "patience": 4},
}
_BEST_IN_CONTEXT: dict[str, Any] = {"use_similarity": True, "gate": True, "alpha": 0.1}


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
) -> RankerConfig:
    """The configuration of a named run. Recipe `paper` reads the set of texts `paper`, where there is one.

    Precision `auto` is float32, so that a result does not depend on which processor a job met.

    Raises:
        UsageError: for an unknown name or an impossible number, with the choices.
    """
    check_choice("model", model, MODELS)
    check_choice("framework", framework, FRAMEWORKS)
    check_choice("recipe", recipe, RECIPES)
    check_choice("variant", variant, VARIANTS)
    if variant and "llm-cf" not in framework:
        raise UsageError(f"the variant {variant!r} is one of LLM-CF; the framework {framework!r} has none")
    if epochs is not None and epochs < 1:
        raise UsageError(f"--epochs {epochs} is not at least 1")
    check_choice("precision", precision, PRECISIONS)
    told = "paper" if recipe == "paper" and ws.cot("texts", "paper").exists() else ""
    precision = "float32" if precision == "auto" else precision
    in_context = InContextConfig(cot_set=told, precision=precision, **(_BEST_IN_CONTEXT if recipe == "best" else {}))
    config = RankerConfig(
        dataset=ws.dataset,
        order=ws.order,
        model=model,
        framework=framework,
        recipe=recipe,
        seed=seed,
        variant=variant,
        **_OF_RECIPE[recipe],
        **_OF_MODEL.get(model, {}),
        in_context=replace(in_context, **VARIANTS[variant]),
        backbone=XDeepFmConfig(precision=precision) if model == "xdeepfm" else BACKBONES[model](),
    )
    return config if epochs is None else replace(config, epochs=epochs)


def from_json(stored: dict[str, Any]) -> RankerConfig:
    """The configuration that a finished run's stamp holds."""
    backbone = _restored(BACKBONES[stored["model"]], stored["backbone"])
    in_context = _restored(InContextConfig, stored["in_context"])
    return _restored(RankerConfig, {**stored, "backbone": backbone, "in_context": in_context})


def _restored(kind: type[Any], stored: dict[str, Any]) -> Any:
    """JSON knows no tuples."""
    names = {one.name for one in fields(kind)}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in stored.items() if name in names})
