"""Hyper-parameters of a ranking run and of its backbones: frozen dataclasses, light to import."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.contracts import WIDTH
from core.errors import UsageError, check_choice
from ict.config import PRECISIONS, IctConfig, check_counts, check_share

if TYPE_CHECKING:
    from ict.neighbours import NeighbourConfig

Tower = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """What every backbone has.

    Args:
        tower: widths of the deep tower's hidden layers, from the input on.
        dropout: share of each hidden layer's numbers that training leaves out.
    """

    tower: Tower = (200, 80)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_counts("a backbone", {"tower": self.tower})
        check_share("a backbone", "dropout", self.dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepFmConfig(BackboneConfig):
    """DeepFM has a tower alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XDeepFmConfig(BackboneConfig):
    """xDeepFM.

    Args:
        maps: feature maps of each layer of the compressed interaction network.
        precision: of its products in training.
        vector_scale: of an added vector in it, when training starts.
    """

    maps: Tower = (100, 100, 100)
    precision: str = "float32"
    vector_scale: float = 0.1

    def __post_init__(self) -> None:
        BackboneConfig.__post_init__(self)
        check_counts("xDeepFM", {"maps": self.maps})
        check_choice("precision", self.precision, PRECISIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoIntConfig(BackboneConfig):
    """AutoInt.

    Args:
        attention: width of all heads of an attention layer together.
        heads, layers: of the attention.
    """

    attention: int = 64
    heads: int = 2
    layers: int = 1

    def __post_init__(self) -> None:
        BackboneConfig.__post_init__(self)
        check_counts("AutoInt", {"attention": self.attention, "heads": self.heads, "layers": self.layers})
        if self.attention % self.heads:
            raise UsageError(f"attention {self.attention} of AutoInt does not split into {self.heads} heads")


@dataclass(frozen=True, slots=True, kw_only=True)
class DcnConfig(BackboneConfig):
    """DCN. `layers` is how many times the input is crossed with itself: layer l has products of l + 1 numbers."""

    layers: int = 3

    def __post_init__(self) -> None:
        BackboneConfig.__post_init__(self)
        check_counts("DCN", {"layers": self.layers})


@dataclass(frozen=True, slots=True, kw_only=True)
class DcnV2Config(BackboneConfig):
    """DCN-V2.

    Args:
        layers: how many times the input is crossed with itself.
        experts: low-rank crossings of a layer, which a gate mixes.
        rank: of an expert's matrix: the width to which it takes the input down.
    """

    layers: int = 2
    experts: int = 4
    rank: int = 4

    def __post_init__(self) -> None:
        BackboneConfig.__post_init__(self)
        check_counts("DCN-V2", {"layers": self.layers, "experts": self.experts, "rank": self.rank})


@dataclass(frozen=True, slots=True, kw_only=True)
class DinConfig(BackboneConfig):
    """DIN. `attention` are the widths of the hidden layers that weigh an item of the history against the target."""

    attention: Tower = (64, 16)

    def __post_init__(self) -> None:
        BackboneConfig.__post_init__(self)
        check_counts("DIN", {"attention": self.attention})


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerConfig:
    """Everything that decides a run, beside the data.

    Args:
        variant: what is changed, in LLM-CF or in what is read: one of `recipes.VARIANTS`.
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
        sequence: read a sequence model's dated scores.
        redraw: take another of the prepared negatives of each training row in every epoch.
        softmax: weight of the matching loss, whose score joins the dense features; 0 for no matching at all.
        distil: weight of the loss against the teacher's P(Yes), where it is known.
        teacher: which folder of scores/ distillation reads.
        in_context: LLM-CF's module; its alpha of 1 was better on validation than 0.2 (`strict`), 0.1 as good (`best`).
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
    sequence: bool = False
    redraw: bool = False
    softmax: float = 0.0
    distil: float = 0.1
    teacher: str = "recgen-s2023"
    in_context: IctConfig = field(default_factory=IctConfig)
    backbone: BackboneConfig = field(default_factory=DeepFmConfig)

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

        return NeighbourConfig.of(self.in_context, stage="ranking", recipe=self.recipe, seed=self.seed)


_DEFAULT = RankerConfig(dataset="", order="", model="", framework="none", recipe="", seed=0)
