"""Hyper-parameters of a retrieval run and of its backbones: frozen dataclasses, light to import."""

from dataclasses import dataclass, field, replace

from core.contracts import RETRIEVAL_WIDTH
from core.errors import UsageError, check_choice
from ict.config import PRECISIONS, IctConfig, check_counts, check_share


@dataclass(frozen=True, slots=True, kw_only=True)
class SasRecConfig:
    """SASRec.

    Args:
        layers: blocks of attention and feed-forward.
        heads: of the attention; they split the width.
        dropout: of the input, and of what each block adds.
    """

    layers: int = 2
    heads: int = 1
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_counts("SASRec", {"layers": self.layers, "heads": self.heads})
        check_share("SASRec", "dropout", self.dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class YoutubeDnnConfig:
    """YoutubeDNN.

    Args:
        hidden: widths of the layers between the pooled history and the state.
        dropout: of what enters them, and of what each gives.
        user: they read the user's own embedding too. It learns users by heart: on Amazon Beauty, HIT@10 on validation
            stood at .073 after three epochs instead of .089.
    """

    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.2
    user: bool = False

    def __post_init__(self) -> None:
        check_counts("YoutubeDNN", {"hidden": self.hidden})
        check_share("YoutubeDNN", "dropout", self.dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gru4RecConfig:
    """GRU4Rec.

    Args:
        layers: recurrent layers, one above the other.
        hidden: width of their states.
        dropout: of the input.
    """

    layers: int = 1
    hidden: int = 128
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_counts("GRU4Rec", {"layers": self.layers, "hidden": self.hidden})
        check_share("GRU4Rec", "dropout", self.dropout)


@dataclass(frozen=True, slots=True, kw_only=True)
class SrGnnConfig:
    """SRGNN.

    Args:
        steps: rounds of messages along the edges.
        dropout: of the items, a node at a time.
    """

    steps: int = 1
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_counts("SRGNN", {"steps": self.steps})
        check_share("SRGNN", "dropout", self.dropout)


BackboneConfig = SasRecConfig | YoutubeDnnConfig | Gru4RecConfig | SrGnnConfig
FUSIONS = ("add", "gate", "concatenate")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """Everything that decides a training run, beside the data.

    Args:
        variant: what is changed in LLM-CF, one of `recipes.VARIANTS`.
        backbone: hyper-parameters of `model`.
        user_id: add the user's own embedding to the backbone's state. It learns users by heart: on Amazon Beauty SASRec
            finds .4 % of the test items more without it (benchmarks/results/retrieval_knobs.md).
        unknown_user, unknown_item: shares of ids hidden in training, so that the UNKNOWN rows are trained.
        negatives: uniform negatives of the sampled softmax; 0 is the softmax over the whole catalogue.
        batch: windows.
        decay: the rate falls linearly, to nothing after the last epoch.
        patience: epochs without a better HIT@10 on validation.
        in_context: LLM-CF's module.
        user_in_context: the representations of requests and examples hold the user's own embedding. It learns users by
            heart here, too: on Amazon Beauty, HIT@10 of SASRec is .0832 with it and .0887 without, of two seeds.
        fusion: how w joins the user vector, one of FUSIONS: added, times `scale`; added behind a gate that reads both;
            concatenated, and both mapped to the width.
        positions: share of a step's positions at which w is computed.
        refresh: steps between two encodings of the examples' histories.
        item_text, item_attributes: what an item's vector has beside its id's: its text vector, projected; the mean of
            its brand's and its categories' vectors.
        table_dropout: share of the entries of the item table that a step leaves out, in histories and catalogue alike.
        xavier: start every matrix by Xavier's normal rule.
        beta2: Adam's decay of squared gradients.
        averaging: share of the moving average of the weights that a step keeps; 0 for none.
        temperature: what scores are divided by in training.
        trimmed: windows of like length share a batch, which is cut to the longest.
        precision: in which the softmax over the whole catalogue multiplies in training; LLM-CF's is `in_context`'s.
        blended: what the run is judged by, and what a release serves, are its scores and those of `blend.Blend`,
            added up.
        cold_start: items that no training row has are scored where a map of their texts puts them (`unseen_items`),
            not where training left them; users without history are shown what was popular lately. Without, the tower
            scores both; a release shows those users popular items all the same, and says so.
    """

    model: str
    framework: str
    recipe: str
    seed: int
    variant: str = ""
    width: int = RETRIEVAL_WIDTH
    backbone: BackboneConfig = field(default_factory=SasRecConfig)
    user_id: bool = False
    unknown_user: float = 0.05
    unknown_item: float = 0.01
    negatives: int = 0
    batch: int = 128
    learning_rate: float = 5e-3
    decay: bool = True
    weight_decay: float = 0.0
    epochs: int = 8
    patience: int = 5
    in_context: IctConfig = field(default_factory=IctConfig)
    user_in_context: bool = True
    fusion: str = "add"
    scale: float = 1.0
    positions: float = 0.25
    refresh: int = 8
    item_text: bool = False
    item_attributes: bool = False
    table_dropout: float = 0.0
    xavier: bool = False
    beta2: float = 0.999
    averaging: float = 0.0
    temperature: float = 1.0
    trimmed: bool = False
    precision: str = "float32"
    blended: bool = False
    cold_start: bool = False

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("fusion", self.fusion, FUSIONS)
        if self.in_context.pooling == "similarities":
            raise UsageError("the retrieval stage has no pooling 'similarities'; choose decoder or mean")

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return "-".join(filter(None, (self.model, self.framework, self.recipe, self.variant, f"s{self.seed}")))

    @property
    def decisive(self) -> "RetrievalConfig":
        """The same without the knobs of what its framework does not read: two runs equal in this are one."""
        if self.uses_examples:
            return self
        unread = ("in_context", "user_in_context", "fusion", "scale", "positions", "refresh")
        return replace(self, **{name: getattr(_DEFAULT, name) for name in unread})

    @property
    def reads_texts(self) -> bool:
        """Whether it reads the items' text vectors, beside those that come with examples."""
        return self.item_text or self.blended or self.cold_start

    @property
    def uses_examples(self) -> bool:
        return self.framework == "llm-cf"


_DEFAULT = RetrievalConfig(model="", framework="none", recipe="", seed=0)
